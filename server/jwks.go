package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"shoal/server/auth"
)

const (
	keySetTimeout      = 2 * time.Second // for one try, from connecting to the last byte
	keySetTries        = 2
	keySetRedirectsMax = 3
)

// NewKeyFetcher makes what auth.Config.Fetch is: it gets a JSON Web Key Set, within two
// tries of two seconds, and of one that is too long no more than shows it. What it follows from https must be https.
// The function is safe for concurrent use and keeps a few idle connections for at most a
// minute. Its errors do not quote the URL.
func NewKeyFetcher() func(ctx context.Context, url string) ([]byte, error) {
	return (&keyFetcher{client: keyClient(nil)}).fetch
}

type keyFetcher struct{ client *http.Client }

// keyClient makes a client that trusts the system's authorities, or those of trust.
func keyClient(trust *tls.Config) *http.Client {
	return &http.Client{
		Timeout: keySetTimeout,
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: keySetTimeout}).DialContext,
			TLSClientConfig:        trust,
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           4,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			switch {
			case len(via) > keySetRedirectsMax:
				return fmt.Errorf("it redirects more than %d times", keySetRedirectsMax)
			case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
				return errors.New("it redirects from https to " + r.URL.Scheme)
			}
			return nil
		},
	}
}

// fetch gets what the URL has. A failure that may pass is tried once more.
func (f *keyFetcher) fetch(ctx context.Context, address string) (body []byte, err error) {
	for try := 1; ; try++ {
		var again bool
		if body, again, err = f.get(ctx, address); err == nil || !again || try == keySetTries || ctx.Err() != nil {
			return body, err
		}
	}
}

// get tries once; again says whether another try may do better.
func (f *keyFetcher) get(ctx context.Context, address string) (body []byte, again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, false, errors.New("the key set's address is no URL")
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := f.client.Do(r)
	if err != nil {
		return nil, true, fmt.Errorf("the key set cannot be fetched: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, answer.StatusCode >= 500, fmt.Errorf("the key set's server answers with status %d instead of 200", answer.StatusCode)
	}
	if body, err = io.ReadAll(io.LimitReader(answer.Body, auth.KeySetBytesMax+1)); err != nil {
		return nil, true, fmt.Errorf("the key set breaks off: %w", withoutURL(err))
	}
	return body, false, nil
}

// withoutURL takes off the layer that quotes the URL, which may have a password in it.
func withoutURL(err error) error {
	var layer *url.Error
	if errors.As(err, &layer) {
		return layer.Err
	}
	return err
}
