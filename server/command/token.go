package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"shoal/server"
	"shoal/server/auth"
	"shoal/server/channel"
	"shoal/server/config"
)

// tokenCommand issues and checks tokens, for trying things out: in production the
// application issues them.
type tokenCommand struct {
	Print tokenPrintCommand `cmd:"" default:"withargs" help:"Print a token; what «shoal token» does by itself."`
	Check tokenCheckCommand `cmd:"" help:"Say what a token holds, whether the server would take it, and what else would happen."`
}

// Help is the text below the flags.
func (tokenCommand) Help() string {
	return "«shoal token --user 42» is short for «shoal token print --user 42»; «shoal token print --help» shows its flags."
}

// tokenSource is where the keys and rules of tokens come from.
type tokenSource struct {
	Config string `short:"c" placeholder:"FILE" env:"SHOAL_CONFIG" help:"Configuration file of the server, for its secret and its aud, iss and user_id_claim; SHOAL_… variables count too."`
}

// load reads the configuration as serve does, and warns as it does.
func (s tokenSource) load(to Process) (config.Config, error) {
	cfg, warnings, err := config.Load(config.LoadOptions{File: s.Config})
	for _, w := range warnings {
		fmt.Fprintf(to.Err, "shoal: %s\n", w.String())
	}
	if err != nil {
		return cfg, usageError{fmt.Errorf("the configuration is refused:\n%w", err)}
	}
	return cfg, nil
}

// tokenPrintCommand prints a token.
type tokenPrintCommand struct {
	tokenSource
	User      string        `short:"u" help:"User id; left out, the token is for an anonymous client."`
	Expire    time.Duration `default:"1h" placeholder:"TIME" help:"How long it is valid (${default}); 0 = for ever."`
	Channel   string        `placeholder:"NAME" help:"Make a subscription token for this channel instead of a connection token."`
	Info      string        `placeholder:"JSON" help:"What other clients see of this one (conn_info, chan_info)."`
	Meta      string        `placeholder:"JSON" help:"What the backend's hooks get and no client ever sees; connection tokens only."`
	Audience  []string      `name:"aud" placeholder:"NAME" help:"Whom it is for; several with commas (default: audience of the configuration)."`
	Issuer    string        `name:"iss" placeholder:"NAME" help:"Who issues it (default: issuer of the configuration)."`
	Secret    string        `placeholder:"TEXT" help:"Sign with this instead of the configuration's hmac_secret_key. Others on this machine may see command lines."`
	Key       string        `placeholder:"FILE" help:"Sign with the private key (PEM) in this file."`
	KeyID     string        `name:"kid" placeholder:"ID" help:"Key id in the header, for servers that look keys up in a key set."`
	Algorithm string        `placeholder:"NAME" help:"HS256, HS384, HS512, RS256 … RS512, PS256 … PS512, ES256, ES384, ES512 or EdDSA (default: what suits the key)."`
}

// Help is the text below the flags.
func (tokenPrintCommand) Help() string {
	return "The token is the only line on standard output: shoal token -c config.yaml -u 42 | pbcopy. " +
		"If the server with that configuration would not accept it, standard error says why. «shoal token check» looks into one."
}

// Run prints the token.
func (c *tokenPrintCommand) Run(to Process) error {
	if err := c.validate(); err != nil {
		return usageError{err}
	}
	cfg, err := c.load(to)
	if err != nil {
		return err
	}
	section := &cfg.Client.Token
	if c.Channel != "" && cfg.Client.SubscriptionToken.Enabled {
		section = &cfg.Client.SubscriptionToken.Token
	}
	signer, err := c.signer(section)
	if err != nil {
		return usageError{err}
	}
	text, err := json.Marshal(c.claims(section, to.Clock()))
	if err != nil {
		return err
	}
	tok, err := signer.Sign(text)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(to.Out, tok); err != nil {
		return err
	}
	c.compare(cfg, section, tok, to)
	return nil
}

// validate checks the flags against each other.
func (c *tokenPrintCommand) validate() error {
	switch {
	case c.Secret != "" && c.Key != "":
		return errors.New("--secret and --key are both given; keep one")
	case c.Expire < 0 || c.Expire > 0 && c.Expire < time.Second:
		return fmt.Errorf("--expire is %v; give a second or more, or 0 for a token that never expires", c.Expire)
	case c.Meta != "" && c.Channel != "":
		return errors.New("--meta is for connection tokens; leave it or --channel out")
	}
	for flag, text := range map[string]string{"--info": c.Info, "--meta": c.Meta} {
		if text != "" && !json.Valid([]byte(text)) {
			return fmt.Errorf(`%s is not JSON; write it like %s='{"name":"Ann"}'`, flag, flag)
		}
	}
	return nil
}

// signer signs with what the flags give, or else with the secret of the configuration.
func (c *tokenPrintCommand) signer(section *config.Token) (*auth.Signer, error) {
	secret, private := c.Secret, ""
	switch {
	case c.Key != "":
		text, err := os.ReadFile(c.Key)
		if err != nil {
			return nil, fmt.Errorf("--key: %w; name a file with a private key in PEM", err)
		}
		private = string(text)
	case secret == "" && section.JWKSPublicEndpoint != "":
		return nil, errors.New("the configuration verifies tokens by a key set; give a private key of it with --key and its id with --kid")
	case secret == "":
		if secret = section.HMACSecretKey; secret == "" {
			return nil, errors.New("there is nothing to sign with; give --secret, --key, or -c with a configuration that has client.token.hmac_secret_key")
		}
	}
	signer, err := auth.NewSigner(c.Algorithm, secret, private, c.KeyID)
	if err != nil && c.Key != "" {
		return nil, fmt.Errorf("--key: %w", err)
	}
	return signer, err
}

// claims are those of the token.
func (c *tokenPrintCommand) claims(section *config.Token, now time.Time) map[string]any {
	claims := map[string]any{"iat": now.Unix()}
	user := section.UserIDClaim
	if user == "" {
		user = "sub"
	}
	if c.Expire > 0 {
		claims["exp"] = now.Add(c.Expire).Unix()
	}
	set := func(name, value, otherwise string) {
		if value == "" {
			value = otherwise
		}
		if value != "" {
			claims[name] = value
		}
	}
	set("channel", c.Channel, "")
	set("iss", c.Issuer, section.Issuer)
	if len(c.Audience) > 1 {
		claims["aud"] = c.Audience
	} else {
		set("aud", strings.Join(c.Audience, ""), section.Audience)
	}
	for name, text := range map[string]string{"info": c.Info, "meta": c.Meta} {
		if text != "" {
			claims[name] = json.RawMessage(text)
		}
	}
	claims[user] = c.User // the last, since the claim may have any name
	return claims
}

// compare tells when the configured server would not accept the token. A key set is not
// asked for that, and a configuration without keys is none.
func (c *tokenPrintCommand) compare(cfg config.Config, section *config.Token, tok string, to Process) {
	if section.JWKSPublicEndpoint != "" || section.HMACSecretKey == "" && section.RSAPublicKey == "" && section.ECDSAPublicKey == "" {
		return
	}
	v, err := judge(cfg, tok, asked{user: c.User, userKnown: true, channel: c.Channel}, to.Clock(), nil)
	switch {
	case err != nil:
		fmt.Fprintf(to.Err, "shoal: the server would not start with this configuration: %v\n", err)
	case v.refused:
		fmt.Fprintf(to.Err, "shoal: the server with this configuration would refuse it: %s\n", v.text)
	}
}

// authorityOf makes the decisions of a server with this configuration.
func authorityOf(cfg config.Config, warn func(section, warning string)) (*auth.Authority, error) {
	rules, err := channel.Compile(cfg.Channel)
	if err != nil {
		return nil, err
	}
	return server.NewAuthority(&cfg, rules, warn)
}
