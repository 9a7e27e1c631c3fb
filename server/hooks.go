package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"shoal/pool/worker"
	"shoal/server/api/hooks"
	"shoal/server/channel"
	"shoal/server/config"
)

// openHooks makes the proxies that the configuration names; without any it leaves the
// backend nil.
func (p *Program) openHooks(rules *channel.Rules) error {
	c := &p.cfg
	if len(askedProxies(c)) == 0 && c.ChannelProxy.State.Endpoint == "" {
		return nil
	}
	cfg := hooks.Config{
		RPCWithoutNamespace:  hooks.RPCOptions{ProxyEnabled: c.RPC.WithoutNamespace.ProxyEnabled, ProxyName: c.RPC.WithoutNamespace.ProxyName},
		RPCNamespaceBoundary: c.RPC.NamespaceBoundary, Rules: rules,
		Now: p.opts.Clock, Random: rand.Float64, Sleep: sleep, Logger: p.opts.Logger,
	}
	for _, ns := range c.RPC.Namespaces {
		cfg.RPCNamespaces = append(cfg.RPCNamespaces, hooks.RPCNamespace{
			Name: ns.Name, RPCOptions: hooks.RPCOptions{ProxyEnabled: ns.ProxyEnabled, ProxyName: ns.ProxyName},
		})
	}
	for _, one := range []struct {
		key  string
		from *config.Proxy
		on   bool
		to   **hooks.Endpoint
	}{
		{"client.proxy.connect", &c.Client.Proxy.Connect.Proxy, c.Client.Proxy.Connect.Enabled, &cfg.Connect},
		{"client.proxy.refresh", &c.Client.Proxy.Refresh.Proxy, c.Client.Proxy.Refresh.Enabled, &cfg.Refresh},
		{"channel.proxy.subscribe", &c.ChannelProxy.Subscribe, true, &cfg.Subscribe},
		{"channel.proxy.publish", &c.ChannelProxy.Publish, true, &cfg.Publish},
		{"channel.proxy.sub_refresh", &c.ChannelProxy.SubRefresh, true, &cfg.SubRefresh},
		{"channel.proxy.state", &c.ChannelProxy.State, true, &cfg.State},
		{"rpc.proxy", &c.RPC.Proxy, true, &cfg.RPC},
	} {
		if !one.on || one.from.Endpoint == "" {
			continue
		}
		e, err := endpoint(one.from)
		if err != nil {
			return fmt.Errorf("%s: %w", one.key, err)
		}
		*one.to = &e
	}
	for i := range c.Proxies {
		e, err := endpoint(&c.Proxies[i].Proxy)
		if err != nil {
			return fmt.Errorf("proxies[%s]: %w", c.Proxies[i].Name, err)
		}
		cfg.Named = append(cfg.Named, hooks.Named{Name: c.Proxies[i].Name, Endpoint: e})
	}
	var err error
	if p.hooks, err = hooks.New(cfg); err != nil {
		return err
	}
	p.backend = p.hooks
	return nil
}

// emulatedHeaders are those of connect commands that a proxy is told.
func (p *Program) emulatedHeaders() []string {
	if p.hooks == nil {
		return nil
	}
	return p.hooks.EmulatedHeaders()
}

// closeHooks lets the backend be told what it has not heard yet.
func (p *Program) closeHooks(ctx context.Context) error {
	if p.hooks == nil {
		return nil
	}
	return p.hooks.Close(ctx)
}

// workerConfig has a worker for every question that the proxies may be asked at once, so
// that a slow one takes none from the others, and some for what asks no backend.
func (p *Program) workerConfig() worker.Config {
	n := 2 * worker.WorkersDefault
	for _, proxy := range askedProxies(&p.cfg) {
		n += proxy.MaxConcurrency
	}
	n = min(n, workersMax)
	return worker.Config{Workers: n, QueueMax: 4 * n, OnPanic: p.workerPanicked}
}

// askedMax is what the sessions of all tenants may ask at once: no more than any proxy takes,
// which would not look at their classes. 0 = any number.
func askedMax(c *config.Config) (most int) {
	for _, proxy := range askedProxies(c) {
		if n := proxy.MaxConcurrency; most == 0 || n < most {
			most = n
		}
	}
	return most
}

// askedProxies are those configured that sessions ask; that of channel state has senders of
// its own.
func askedProxies(c *config.Config) (list []*config.Proxy) {
	all := []*config.Proxy{
		&c.Client.Proxy.Connect.Proxy, &c.Client.Proxy.Refresh.Proxy, &c.ChannelProxy.Subscribe,
		&c.ChannelProxy.Publish, &c.ChannelProxy.SubRefresh, &c.RPC.Proxy,
	}
	for i := range c.Proxies {
		all = append(all, &c.Proxies[i].Proxy)
	}
	for _, proxy := range all {
		if proxy.Endpoint != "" {
			list = append(list, proxy)
		}
	}
	return list
}

// workersMax bounds the goroutines that questions may take; each is there only while it
// has something to ask.
const workersMax = 4096

// endpoint translates one proxy; it reads the files of its certificates.
func endpoint(c *config.Proxy) (hooks.Endpoint, error) {
	section := &c.HTTP.TLS
	if c.IsGRPC() {
		section = &c.GRPC.TLS
	}
	tls, err := section.ClientConfig()
	if err != nil {
		return hooks.Endpoint{}, err
	}
	e := hooks.Endpoint{
		URL: c.Endpoint, Timeout: c.Timeout, HTTPHeaders: c.HTTPHeaders, EmulatedHeaders: c.EmulatedHeaders,
		BinaryEncoding: c.BinaryEncoding, IncludeMeta: c.IncludeConnectionMeta,
		StaticHeaders: c.HTTP.StaticHeaders, StaticMetadata: c.GRPC.StaticMetadata,
		CredentialsKey: c.GRPC.CredentialsKey, CredentialsValue: c.GRPC.CredentialsValue, Compression: c.GRPC.Compression,
		TLS: tls, ConcurrencyMax: c.MaxConcurrency, Retries: c.Retries, RetryDelay: c.RetryDelay,
		BreakerFailures: c.BreakerFailures, BreakerCooldown: c.BreakerDelay,
	}
	for _, t := range c.HTTP.Transforms {
		e.Transforms = append(e.Transforms, hooks.Transform{
			Status:     t.StatusCode,
			Error:      channel.Error{Code: uint32(t.ToError.Code), Message: t.ToError.Message, Temporary: t.ToError.Temporary},
			Disconnect: channel.Disconnect{Code: uint32(t.ToDisconnect.Code), Reason: t.ToDisconnect.Reason},
		})
	}
	return e, nil
}

// sleep waits for d, or until ctx ends and then gives its error.
func sleep(ctx context.Context, d time.Duration) error {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-wait.Done()
	return ctx.Err()
}
