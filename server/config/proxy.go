package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"shoal/server/channel"
)

// Proxy is how a backend is asked: where it is, what it is told, and what protects it and the server from each other.
type Proxy struct {
	Endpoint              string        `key:"endpoint" secret:"url" doc:"Where the backend is asked: an http or https URL, or grpc://host:port; empty = nowhere."`
	Timeout               time.Duration `key:"timeout" doc:"How long the answer may take, repetitions included."`
	HTTPHeaders           []string      `key:"http_headers" doc:"Headers of the client's upgrade request that are passed on; empty = none."`
	GRPCMetadata          []string      `key:"grpc_metadata" doc:"Metadata of gRPC clients that are passed on; such clients are not served yet, so none are."`
	EmulatedHeaders       []string      `key:"emulated_headers" doc:"Headers of the client's connect command that are passed on. The client can write anything into them; real headers of the same name win."`
	BinaryEncoding        bool          `key:"binary_encoding" doc:"Data travels as base64 in b64data; needed when it is not JSON."`
	IncludeConnectionMeta bool          `key:"include_connection_meta" doc:"Passes on the meta of the client's token or of the answer to its connect."`
	HTTP                  ProxyHTTP     `key:"http"`
	GRPC                  ProxyGRPC     `key:"grpc"`
	MaxConcurrency        int           `key:"max_concurrency" doc:"Questions asked at once; more fail at once. Shoal's own."`
	Retries               int           `key:"retries" doc:"How often a question that may be asked twice (all but publish and rpc) is repeated when the backend could not be reached or failed, 0..10. Shoal's own."`
	RetryDelay            time.Duration `key:"retry_delay" doc:"Wait before the first repetition, doubled for each further one and spread at random. Shoal's own."`
	BreakerFailures       int           `key:"breaker_failures" doc:"Failures in a row after which the backend is left alone and every question fails at once; 0 = never. Shoal's own."`
	BreakerDelay          time.Duration `key:"breaker_delay" doc:"How long it is left alone at most before up to three questions try it again; doubled each time they fail, up to twelve times this. Shoal's own."`
}

// ProxyHTTP is what an HTTP endpoint needs.
type ProxyHTTP struct {
	TLS           TLS               `key:"tls"`
	StaticHeaders map[string]string `key:"static_headers" secret:"true" doc:"Headers sent with every question, a passed on one of the same name wins; ${SHOAL_VAR_NAME} in a value is replaced by that variable."`
	Transforms    []StatusTransform `key:"status_to_code_transforms" doc:"What an HTTP status other than 200 means for the client; one not listed is error 100. A redirect is a status like others and not followed."`
}

// ProxyGRPC is what a gRPC endpoint needs.
type ProxyGRPC struct {
	TLS              TLS               `key:"tls"`
	CredentialsKey   string            `key:"credentials_key" doc:"Metadata key that credentials are sent under; empty = none."`
	CredentialsValue string            `key:"credentials_value" secret:"true" doc:"The credentials."`
	Compression      bool              `key:"compression" doc:"Compresses questions with gzip."`
	StaticMetadata   map[string]string `key:"static_metadata" secret:"true" doc:"Metadata sent with every question, a passed on one of the same name wins; ${SHOAL_VAR_NAME} in a value is replaced by that variable."`
}

// StatusTransform gives an HTTP status a meaning: an error or a disconnect.
type StatusTransform struct {
	StatusCode int `key:"status_code" doc:"The HTTP status."`
	ToError    struct {
		Code      int    `key:"code" doc:"Error code; 0 = it becomes no error."`
		Message   string `key:"message" doc:"Text of the error, at most 123 ASCII characters."`
		Temporary bool   `key:"temporary" doc:"The client may try again."`
	} `key:"to_error"`
	ToDisconnect struct {
		Code   int    `key:"code" doc:"Disconnect code, 3000..4999; 0 = it becomes no disconnect."`
		Reason string `key:"reason" doc:"Text of the disconnect, at most 123 ASCII characters."`
	} `key:"to_disconnect"`
}

// TLS says how an outgoing connection is encrypted. PEM is given as it is, in base64, or as the path of a file.
type TLS struct {
	Enabled            bool   `key:"enabled" doc:"Uses the settings of this section; an https URL is encrypted without it too."`
	CertPEM            string `key:"cert_pem" doc:"Certificate shown to the backend: PEM, PEM in base64, or a file; empty = none."`
	KeyPEM             string `key:"key_pem" secret:"true" doc:"Its private key: PEM, PEM in base64, or a file."`
	ServerCAPEM        string `key:"server_ca_pem" doc:"Certificates of the authorities the backend's certificate may be from: PEM, PEM in base64, or a file; empty = those of the system."`
	InsecureSkipVerify bool   `key:"insecure_skip_verify" doc:"Accepts any certificate. For development only."`
	ServerName         string `key:"server_name" doc:"Name the backend's certificate must be for; empty = that in the endpoint."`
}

// SwitchedProxy is a proxy with a switch of its own.
type SwitchedProxy struct {
	Enabled bool `key:"enabled" doc:"Asks the backend."`
	Proxy   `key:""`
}

// ClientProxies are asked about connections.
type ClientProxies struct {
	Connect SwitchedProxy `key:"connect"` // who a client without token is
	Refresh SwitchedProxy `key:"refresh"` // whether a client whose credentials end may go on
}

// ChannelProxies are asked about channels whose namespace switches that on and names no other proxy.
type ChannelProxies struct {
	Subscribe  Proxy `key:"subscribe"`
	Publish    Proxy `key:"publish"`
	SubRefresh Proxy `key:"sub_refresh"`
	State      Proxy `key:"state"` // is told of occupied and vacated channels
}

// NamedProxy is an element of proxies.
type NamedProxy struct {
	Name  string `key:"name" doc:"Name of the proxy: two or more letters, digits, '-', '_' and '.'; not default."`
	Proxy `key:""`
}

// RPC says who answers the calls of clients. A method ns:rest has the options of the namespace ns; one of an unlisted
// namespace is answered with error 104, one without proxy with 108.
type RPC struct {
	Proxy             Proxy        `key:"proxy"`
	WithoutNamespace  RPCOptions   `key:"without_namespace" omit:"name"`
	Namespaces        []RPCOptions `key:"namespaces" like:"rpc.without_namespace" doc:"Options of the methods name:rest, by name."`
	NamespaceBoundary string       `key:"namespace_boundary" doc:"What separates the namespace from the rest of a method; empty = :."`
	Ping              RPCPing      `key:"ping"`
}

// RPCOptions are the rules of the methods of one namespace.
type RPCOptions struct {
	Name         string `key:"name" doc:"Name of the namespace: two or more letters, digits, '-', '_' and '.'."`
	ProxyEnabled bool   `key:"proxy_enabled" doc:"The backend answers the calls."`
	ProxyName    string `key:"proxy_name" doc:"Name of the proxy, in proxies, that is asked; empty or default = rpc.proxy."`
}

// RPCPing is a method the server answers itself, with nothing.
type RPCPing struct {
	Enabled bool   `key:"enabled" doc:"Answers the method."`
	Method  string `key:"method" doc:"Its name."`
}

// IsGRPC says whether the endpoint speaks gRPC; else it speaks HTTP.
func (p *Proxy) IsGRPC() bool { return p.Endpoint != "" && !isHTTP(p.Endpoint) }

func isHTTP(endpoint string) bool {
	return strings.HasPrefix(endpoint, "http://") || strings.HasPrefix(endpoint, "https://")
}

// NamedProxy finds a proxy by the name an option gives: own, the one of the event, for "" and "default".
func (c *Config) NamedProxy(name string, own Proxy) (Proxy, bool) {
	if name == "" || name == channel.ProxyDefault {
		return own, true
	}
	i := slices.IndexFunc(c.Proxies, func(p NamedProxy) bool { return p.Name == name })
	if i < 0 {
		return Proxy{}, false
	}
	return c.Proxies[i].Proxy, true
}

// KeptHeaders lists the headers of upgrade requests that some proxy passes on, in lower case, sorted, each once. Those
// of proxies that are not asked count too.
func (c *Config) KeptHeaders() []string {
	lists := [][]string{
		c.Client.Proxy.Connect.HTTPHeaders, c.Client.Proxy.Refresh.HTTPHeaders, c.ChannelProxy.Subscribe.HTTPHeaders,
		c.ChannelProxy.Publish.HTTPHeaders, c.ChannelProxy.SubRefresh.HTTPHeaders, c.RPC.Proxy.HTTPHeaders,
	}
	for i := range c.Proxies {
		lists = append(lists, c.Proxies[i].HTTPHeaders)
	}
	if h := c.Client.UserIDHTTPHeader; h != "" {
		lists = append(lists, []string{h})
	}
	var names []string
	for _, name := range slices.Concat(lists...) {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ClientConfig is the section as the standard library takes it; nil when it is not enabled. It reads files.
func (t *TLS) ClientConfig() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify} //nolint:gosec // the operator's choice
	if t.CertPEM != "" {
		cert, err := readPEM(t.CertPEM)
		if err != nil {
			return nil, fmt.Errorf("cert_pem: %w", err)
		}
		key, err := readPEM(t.KeyPEM)
		if err != nil {
			return nil, fmt.Errorf("key_pem: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert_pem and key_pem: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if t.ServerCAPEM != "" {
		authorities, err := readPEM(t.ServerCAPEM)
		if err != nil {
			return nil, fmt.Errorf("server_ca_pem: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, errors.New("server_ca_pem: no certificate in it; give PEM blocks of the type CERTIFICATE")
		}
	}
	return c, nil
}

// readPEM takes PEM, PEM in base64, or the path of a PEM file. Its errors never show what was given: it may be a key.
func readPEM(text string) ([]byte, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return []byte(text), nil
	}
	if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
		if block, _ := pem.Decode(plain); block != nil {
			return plain, nil
		}
	}
	if strings.ContainsAny(text, "\n\x00") || len(text) > 4096 {
		return nil, errors.New("neither PEM nor a path; write PEM, PEM in base64, or the path of a file")
	}
	data, err := os.ReadFile(text)
	if inner := (*os.PathError)(nil); errors.As(err, &inner) {
		return nil, fmt.Errorf("neither PEM nor a file that can be read: %w; write PEM, PEM in base64, or the path of a file", inner.Err)
	}
	if block, _ := pem.Decode(data); block == nil {
		return nil, errors.New("the file holds no PEM; give another one")
	}
	return data, nil
}
