package channel

// Override is what a token changes in the options of one subscription; nil keeps the
// namespace's value.
type Override struct {
	Presence           *bool
	JoinLeave          *bool
	ForcePushJoinLeave *bool
	ForcePositioning   *bool
	ForceRecovery      *bool
}

// ServerSub is a subscription that the server makes by itself when a session connects,
// because its token says so.
type ServerSub struct {
	Channel  string
	Info     []byte // chan_info of the session in this channel; nil for none
	Data     []byte // data of the subscribe result; nil for none
	Override *Override
}
