package channel

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestConfigErrorsNameTheKey(t *testing.T) {
	without := func(o Options) Config { return Config{WithoutNamespace: o} }
	for _, c := range []struct {
		cfg       Config
		key, says string
	}{
		{Config{MaxLength: -1}, "channel.max_length", "choose 0 to 1024"},
		{Config{MaxLength: 1025}, "channel.max_length", "choose 0 to 1024"},
		{Config{HistoryMetaTTL: -1}, "channel.history_meta_ttl", "negative"},
		{Config{PublicationDataFormat: "xml"}, "channel.publication_data_format", "json_object"},
		{Config{PrivatePrefix: "\t"}, "channel.private_prefix", "printable"},
		{Config{NamespaceBoundary: " "}, "channel.namespace_boundary", "printable"},
		{Config{UserBoundary: "é"}, "channel.user_boundary", "printable"},
		{Config{UserSeparator: "123456789"}, "channel.user_separator", "one to eight"},
		{Config{Namespaces: make([]Options, namespacesMax+1)}, "channel.namespaces", "outside its bounds"},
		{without(Options{Name: "x"}), "channel.without_namespace.name", "remove the name"},
		{Config{Namespaces: []Options{{}}}, "channel.namespaces[0].name", "two or more"},
		{Config{Namespaces: []Options{{Name: "a"}}}, "channel.namespaces[0].name", "two or more"},
		{Config{Namespaces: []Options{{Name: "a:b"}}}, "channel.namespaces[0].name", "two or more"},
		{Config{Namespaces: []Options{{Name: "aa"}, {Name: "aa"}}}, "channel.namespaces[aa].name", "twice"},
		{Config{Namespaces: []Options{{Name: "aa", ChannelRegex: "("}}}, "channel.namespaces[aa].channel_regex", "RE2"},
		{without(Options{HistorySize: 1}), "channel.without_namespace.history_ttl", "history_size"},
		{without(Options{HistoryTTL: 1}), "channel.without_namespace.history_size", "history_ttl"},
		{without(Options{HistorySize: -1}), "channel.without_namespace.history_size", "negative"},
		{without(Options{HistorySize: historySizeMax + 1, HistoryTTL: 1}), "channel.without_namespace.history_size", "bounds"},
		{without(Options{HistoryTTL: -1}), "channel.without_namespace.history_ttl", "negative"},
		{without(Options{HistoryMetaTTL: -1}), "channel.without_namespace.history_meta_ttl", "negative"},
		{without(Options{HistorySize: 1, HistoryTTL: time.Hour, HistoryMetaTTL: time.Minute}), "channel.without_namespace.history_ttl", "1m0s"},
		{Config{HistoryMetaTTL: time.Minute, WithoutNamespace: Options{HistorySize: 1, HistoryTTL: time.Hour}}, "channel.without_namespace.history_ttl", "1m0s"},
		{without(Options{ForceRecovery: true}), "channel.without_namespace.force_recovery", "no history"},
		{without(Options{Acknowledge: true}), "channel.without_namespace.acknowledge", "no history"},
		{without(Options{Acknowledge: true, HistorySize: 1, HistoryTTL: 1, ForceRecoveryMode: "cache"}), "channel.without_namespace.acknowledge", "stream"},
		{without(Options{ForceRecoveryMode: "x"}), "channel.without_namespace.force_recovery_mode", "stream, cache"},
		{without(Options{AutoCacheRecover: true}), "channel.without_namespace.auto_cache_recover", "cache mode"},
		{without(Options{AutoCacheRecover: true, ForceRecovery: true, HistorySize: 1, HistoryTTL: 1}), "channel.without_namespace.auto_cache_recover", "force_recovery_mode = cache"},
		{without(Options{PublicationDataFormat: "xml"}), "channel.without_namespace.publication_data_format", "json_object"},
		{without(Options{AllowedDeltaTypes: []string{"x"}}), "channel.without_namespace.allowed_delta_types", "fossil"},
		{without(Options{AllowedDeltaTypes: []string{""}}), "channel.without_namespace.allowed_delta_types", "fossil"},
		{without(Options{SlowPolicy: "drop"}), "channel.without_namespace.slow_policy", "drop_oldest"},
		{without(Options{SlowBacklogSize: -1}), "channel.without_namespace.slow_backlog_size", "negative"},
		{without(Options{SlowPolicy: "conflate"}), "channel.without_namespace.conflate_tag", "a tag"},
		{without(Options{SlowPolicy: "conflate", ConflateTag: "k", AllowedDeltaTypes: []string{"fossil"}}), "channel.without_namespace.slow_policy", "differences"},
		{without(Options{SlowPolicy: "latest", Acknowledge: true, HistorySize: 1, HistoryTTL: 1}), "channel.without_namespace.slow_policy", "acknowledge"},
		{without(Options{JoinLeaveBatchSize: -1}), "channel.without_namespace.join_leave_batch_size", "negative"},
	} {
		r, err := Compile(c.cfg)
		var f *Fault
		if !errors.As(err, &f) || r != nil || f.Key != c.key || !strings.Contains(f.Error(), c.says) || f.Why == "" || f.Change == "" {
			t.Errorf("got %v, want a fault of %s that says %q", err, c.key, c.says)
		}
	}
}

func TestEveryFaultIsFoundAtOnce(t *testing.T) {
	c := Config{MaxLength: -1, WithoutNamespace: Options{ForceRecovery: true, ForceRecoveryMode: "x"},
		Namespaces: []Options{{Name: "aa", HistorySize: 3}, {Name: strings.Repeat("n", 65), HistoryTTL: -1}}}
	var keys []string
	for _, f := range c.Faults() {
		keys = append(keys, f.Key)
	}
	want := []string{"channel.max_length", "channel.without_namespace.force_recovery_mode", "channel.without_namespace.force_recovery",
		"channel.namespaces[aa].history_ttl", "channel.namespaces[1].history_ttl"}
	if !reflect.DeepEqual(keys, want) {
		t.Errorf("got  %q\nwant %q", keys, want)
	}
}

// TestWhatTheReferenceTakesIsTaken has combinations that make little sense and that
// Centrifugo v6 starts with; the second number counts the options without effect.
func TestWhatTheReferenceTakesIsTaken(t *testing.T) {
	kept := Options{HistorySize: 10, HistoryTTL: time.Minute}
	cache := kept
	cache.ForceRecovery, cache.ForceRecoveryMode, cache.AutoCacheRecover = true, "cache", true
	for i, c := range []struct {
		o    Options
		idle int
	}{
		{Options{}, 0},
		{kept, 0},
		{cache, 0},
		{Options{ForcePositioning: true, AllowPositioning: true, AllowRecovery: true}, 3},
		{Options{AllowPresenceForClient: true, AllowPresenceForSubscriber: true, AllowPresenceForAnonymous: true}, 3},
		{Options{AllowHistoryForClient: true, AllowHistoryForSubscriber: true, AllowHistoryForAnonymous: true}, 3},
		{Options{ForcePushJoinLeave: true, DeltaPublish: true}, 2},
		{Options{JoinLeave: true, AllowedDeltaTypes: []string{"fossil"}}, 0},
		{Options{AllowSubscribeForAnonymous: true, AllowPublishForAnonymous: true}, 2},
		{Options{ForceRecoveryMode: "cache"}, 0},
		{Options{SlowPolicy: "latest", SlowBacklogSize: 1, ConflateTag: "k"}, 2},
		{Options{SlowPolicy: "drop_newest", SlowBacklogSize: 1}, 0},
		{Options{SlowPolicy: "conflate", ConflateTag: "k"}, 0},
		{Options{HistoryMetaTTL: time.Second}, 0},
		{Options{SubscribeProxyEnabled: true, SubscribeProxyName: "anything"}, 0},
	} {
		cfg := Config{WithoutNamespace: c.o}
		c.o.Name = "ns"
		cfg.Namespaces = []Options{c.o}
		if err := cfg.Validate(); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		idle := cfg.Idle()
		if len(idle) != 2*c.idle {
			t.Errorf("%d: idle options %q, want %d for each", i, idle, c.idle)
		}
		for _, text := range idle {
			if !strings.HasPrefix(text, "channel.without_namespace.") && !strings.HasPrefix(text, "channel.namespaces[ns].") {
				t.Errorf("%d: %q does not begin with its key", i, text)
			}
		}
	}
}

func TestTheZeroConfigIsTheDefaultOne(t *testing.T) {
	zero, def := mustCompile(t, Config{}), mustCompile(t, DefaultConfig())
	if def.without.options.JoinLeaveBatchSize != JoinLeaveBatchSizeDefault {
		t.Errorf("default batch size %d", def.without.options.JoinLeaveBatchSize)
	}
	def.without.options.JoinLeaveBatchSize, def.without.wild.JoinLeaveBatchSize = 0, 0
	def.cfg.WithoutNamespace.JoinLeaveBatchSize = 0
	if !reflect.DeepEqual(zero, def) {
		t.Errorf("got  %+v\nwant %+v", zero, def)
	}
}

func TestPersonalChannels(t *testing.T) {
	r := mustCompile(t, sample())
	for _, c := range []struct{ namespace, user, want string }{
		{"", "42", "#42"}, {"chat", "42", "chat:#42"}, {"chat", "", "chat:#"},
	} {
		if got := r.PersonalChannel(c.namespace, c.user); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	name := r.PersonalChannel("chat", "42")
	if o, err := r.Resolve(name); err != nil || o.Name != "chat" || !r.UserListed(name, "42") || r.UserListed(name, "4") {
		t.Errorf("%q: %+v, %v", name, o, err)
	}
	marked := mustCompile(t, Config{NamespaceBoundary: "/", UserBoundary: "@"})
	if got := marked.PersonalChannel("me", "1"); got != "me/@1" {
		t.Errorf("got %q", got)
	}
}

func TestDataFormats(t *testing.T) {
	all := []string{"", "json", "json_object", "binary"}
	for _, c := range []struct{ data, takes string }{
		{"", "binary"},
		{" ", " binary"},
		{"x", " binary"},
		{"\x00\xff", " binary"},
		{"{}", " json json_object binary"},
		{" \r\n\t{\"a\":[1]} \n", " json json_object binary"},
		{"[]", " json binary"},
		{"\"{}\"", " json binary"},
		{"null", " json binary"},
		{"0", " json binary"},
		{"{", " binary"},
		{"{}{}", " binary"},
		{"{\"a\":1}x", " binary"},
		{"{\"a\":\"\xff\"}", " binary"},
		{strings.Repeat("[", 2000) + strings.Repeat("]", 2000), " binary"},
	} {
		for _, format := range all {
			o := &Options{PublicationDataFormat: format}
			want := format == "" && c.data != "" || format != "" && strings.Contains(c.takes+" ", format+" ")
			err := o.CheckData([]byte(c.data))
			if (err == nil) != want || err != nil && err.Code != 107 {
				t.Errorf("%q as %q: got %v, want taken = %t", c.data[:min(len(c.data), 20)], format, err, want)
			}
		}
	}
	o, data := &Options{PublicationDataFormat: "json_object"}, []byte(`{"text":"hello","list":[1,2,3]}`)
	if n := testing.AllocsPerRun(100, func() { o.CheckData(data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWhatSupersedesWhat(t *testing.T) {
	tags := map[string]string{"k": "v", "none": ""}
	for _, c := range []struct {
		policy, tag, value string
		some               bool
	}{
		{"", "k", "", false}, {"drop_oldest", "k", "", false}, {"latest", "", "", true},
		{"conflate", "k", "v", true}, {"conflate", "other", "", false}, {"conflate", "none", "", false},
	} {
		o := Options{SlowPolicy: c.policy, ConflateTag: c.tag}
		if value, some := o.Supersedes(tags); value != c.value || some != c.some {
			t.Errorf("%+v: got %q, %t", c, value, some)
		}
	}
}
