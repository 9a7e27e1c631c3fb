// Package proxypb is the generated code of proxy.proto: the messages and the client and
// server of the service centrifugal.centrifugo.proxy.CentrifugoProxy, which backends
// implement. Package hooks alone uses it. Run generate.sh after a change.
package proxypb
