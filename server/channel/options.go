package channel

import (
	"fmt"
	"regexp"
	"time"
)

// Duration is a time.Duration that reads and writes as text ("30s", "720h"), in JSON,
// YAML, TOML and environment alike. A bare number is refused: its unit is a guess.
type Duration time.Duration

// UnmarshalText reads Go's duration syntax; the empty text is 0.
func (d *Duration) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = 0
		return nil
	}
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q has no unit or is malformed; write it like 300ms, 30s or 720h", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Options are the rules of one namespace, under the names Centrifugo v6 uses. The
// zero value allows nothing to clients: subscribing and publishing need an allow_*
// option or a token.
type Options struct {
	Name string `json:"name,omitempty"` // of the namespace; empty for channels without one

	AllowSubscribeForClient    bool `json:"allow_subscribe_for_client"`    // any authenticated user
	AllowSubscribeForAnonymous bool `json:"allow_subscribe_for_anonymous"` // and the anonymous, if the one above is set
	AllowPublishForClient      bool `json:"allow_publish_for_client"`
	AllowPublishForSubscriber  bool `json:"allow_publish_for_subscriber"`
	AllowPublishForAnonymous   bool `json:"allow_publish_for_anonymous"` // if one of the two above is set
	AllowUserLimitedChannels   bool `json:"allow_user_limited_channels"` // "name#user1,user2"

	ChannelRegex          string `json:"channel_regex"` // the name after the boundary must match; empty: any ASCII
	PublicationDataFormat string `json:"publication_data_format"`

	Presence                   bool `json:"presence"`
	JoinLeave                  bool `json:"join_leave"`
	ForcePushJoinLeave         bool `json:"force_push_join_leave"`
	AllowPresenceForClient     bool `json:"allow_presence_for_client"`
	AllowPresenceForSubscriber bool `json:"allow_presence_for_subscriber"`
	AllowPresenceForAnonymous  bool `json:"allow_presence_for_anonymous"`

	HistorySize               int      `json:"history_size"` // publications; 0 keeps none
	HistoryTTL                Duration `json:"history_ttl"`
	HistoryMetaTTL            Duration `json:"history_meta_ttl"` // 0: the top-level value
	AllowHistoryForClient     bool     `json:"allow_history_for_client"`
	AllowHistoryForSubscriber bool     `json:"allow_history_for_subscriber"`
	AllowHistoryForAnonymous  bool     `json:"allow_history_for_anonymous"`

	ForcePositioning  bool     `json:"force_positioning"`
	AllowPositioning  bool     `json:"allow_positioning"`
	ForceRecovery     bool     `json:"force_recovery"`
	AllowRecovery     bool     `json:"allow_recovery"`
	ForceRecoveryMode string   `json:"force_recovery_mode"` // "", "stream" or "cache"
	AutoCacheRecover  bool     `json:"auto_cache_recover"`
	AllowedDeltaTypes []string `json:"allowed_delta_types"` // "fossil"
	DeltaPublish      bool     `json:"delta_publish"`
	AllowTagsFilter   bool     `json:"allow_tags_filter"`
}

// Validate checks each value and the couplings between them; the error names the key
// and says what to change.
func (o *Options) Validate() error {
	if o.ChannelRegex != "" {
		if _, err := regexp.Compile(o.ChannelRegex); err != nil {
			return fmt.Errorf("channel_regex does not compile: %w", err)
		}
	}
	switch o.PublicationDataFormat {
	case "", "json", "json_object", "binary":
	default:
		return fmt.Errorf("publication_data_format %q is unknown; use json, json_object, binary or leave it out", o.PublicationDataFormat)
	}
	switch o.ForceRecoveryMode {
	case "", "stream", "cache":
	default:
		return fmt.Errorf("force_recovery_mode %q is unknown; use stream or cache", o.ForceRecoveryMode)
	}
	for _, t := range o.AllowedDeltaTypes {
		if t != "fossil" {
			return fmt.Errorf("allowed_delta_types has %q; only fossil is known", t)
		}
	}
	return o.validateHistory()
}

func (o *Options) validateHistory() error {
	if o.HistorySize < 0 || o.HistoryTTL < 0 || o.HistoryMetaTTL < 0 {
		return fmt.Errorf("history_size, history_ttl and history_meta_ttl must not be negative")
	}
	if (o.HistorySize > 0) != (o.HistoryTTL > 0) {
		return fmt.Errorf("history_size %d with history_ttl %v: history is kept only when both are set; set both or neither",
			o.HistorySize, time.Duration(o.HistoryTTL))
	}
	if o.ForceRecovery && o.HistorySize == 0 {
		return fmt.Errorf("force_recovery needs history; set history_size and history_ttl too")
	}
	return nil
}
