package channel

import "encoding/json"

// Override is what a token or a proxy changes in the options of one subscription; nil keeps the
// namespace's value.
type Override struct {
	Presence           *bool
	JoinLeave          *bool
	ForcePushJoinLeave *bool
	ForcePositioning   *bool
	ForceRecovery      *bool
}

// UnmarshalJSON reads the form that tokens and proxies write: {"presence":{"value":true}}.
func (o *Override) UnmarshalJSON(text []byte) error {
	type option struct {
		Value bool `json:"value"`
	}
	var form struct {
		Presence           *option `json:"presence"`
		JoinLeave          *option `json:"join_leave"`
		ForcePushJoinLeave *option `json:"force_push_join_leave"`
		ForcePositioning   *option `json:"force_positioning"`
		ForceRecovery      *option `json:"force_recovery"`
	}
	if err := json.Unmarshal(text, &form); err != nil {
		return err
	}
	value := func(v *option) *bool {
		if v == nil {
			return nil
		}
		return &v.Value
	}
	*o = Override{
		Presence: value(form.Presence), JoinLeave: value(form.JoinLeave), ForcePushJoinLeave: value(form.ForcePushJoinLeave),
		ForcePositioning: value(form.ForcePositioning), ForceRecovery: value(form.ForceRecovery),
	}
	return nil
}

// ServerSub is a subscription that the server makes by itself when a session connects,
// because its token says so.
type ServerSub struct {
	Channel  string
	Info     []byte // chan_info of the session in this channel; nil for none
	Data     []byte // data of the subscribe result; nil for none
	Override *Override
}
