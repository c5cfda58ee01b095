package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	// keyCooldown is the least time between the end of a fetch of an issuer's keys
	// and the beginning of the next, retryCooldown that after one that failed.
	keyCooldown   = 5 * time.Second
	retryCooldown = time.Second
	// keyWait is how long a call waits for a fetch under way. A healthy issuer
	// answers sooner; behind one that hangs, calls must not pile up.
	keyWait = 2 * time.Second
	// issuerTimeout bounds one fetch, and one call to an issuer.
	issuerTimeout = 5 * time.Second
	// maxKeySetBytes bounds what is read from an issuer.
	maxKeySetBytes = 1 << 20
)

// issuerKeys is an issuer with its keys, fetched at first need and again for a key
// id that is not among them. go-oidc's own key set would fetch them for every unknown
// key id, as often as a caller likes to invent one.
//
// Keys in memory are read without a lock and never wait for a fetch. Callers that need one
// share it; it has a context of its own, so that it goes on for the others when the caller
// that began it has left.
type issuerKeys struct {
	Issuer
	client *http.Client
	flight singleflight.Group
	// last is the state after the last fetch; never nil.
	last atomic.Pointer[keyState]
}

// keyState is what is known of an issuer after a fetch. It never changes.
type keyState struct {
	// keysURL is where the keys are; empty: ask the discovery document.
	keysURL string
	// keys are those of the last fetch that succeeded; nil before the first.
	keys *jose.JSONWebKeySet
	// fault is why the last fetch failed; nil when it did not.
	fault error
	// again is when the next fetch may begin.
	again time.Time
}

func newIssuerKeys(iss Issuer) *issuerKeys {
	keys := &issuerKeys{Issuer: iss, client: &http.Client{Timeout: issuerTimeout}}
	keys.last.Store(&keyState{})
	return keys
}

// ready returns nil once the keys have been loaded, and tries to load them.
func (iss *issuerKeys) ready(ctx context.Context) error {
	state := iss.last.Load()
	if state.keys != nil {
		return nil
	}
	state, err := iss.refresh(ctx)
	if err == nil && state.keys == nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, state.fault)
	}
	return err
}

// keysFor returns the keys that a token with this key id may be signed with: those in
// memory at once, others after a fetch, unless the last fetch is too recent.
func (iss *issuerKeys) keysFor(ctx context.Context, id string) (keyList, error) {
	state := iss.last.Load()
	if keys := state.find(id); len(keys) > 0 {
		return keys, nil
	}
	state, err := iss.refresh(ctx)
	if err != nil {
		return nil, err
	}
	keys := state.find(id)
	switch {
	case len(keys) > 0:
		return keys, nil
	case state.fault != nil:
		// The key may well exist: the issuer could not be asked.
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, state.fault)
	}
	return nil, fmt.Errorf("%w: the issuer publishes no such key", ErrInvalidToken)
}

// find returns the keys with this id; for a token that names none, all of them.
func (s *keyState) find(id string) keyList {
	switch {
	case s.keys == nil:
		return nil
	case id == "":
		return s.keys.Keys
	}
	return s.keys.Key(id)
}

// refresh fetches the keys, or waits for the fetch that is under way, for as long as
// ctx and keyWait allow. Within the cooldown it returns the state after the last fetch.
func (iss *issuerKeys) refresh(ctx context.Context) (*keyState, error) {
	if state := iss.last.Load(); time.Now().Before(state.again) {
		return state, nil
	}
	done := iss.flight.DoChan("", func() (any, error) {
		state := iss.last.Load()
		// Another fetch may have ended since the caller looked.
		if !time.Now().Before(state.again) {
			state = iss.fetch(state)
			iss.last.Store(state)
		}
		return state, nil
	})
	timeout := time.NewTimer(keyWait)
	defer timeout.Stop()
	select {
	case result := <-done:
		state, _ := result.Val.(*keyState)
		return state, nil
	case <-timeout.C:
		return nil, fmt.Errorf("%w: the keys are not there after %s", ErrUnavailable, keyWait)
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the keys of issuer %s: %w", iss.Name, ctx.Err())
	}
}

// fetch asks the issuer and returns the new state. After a fault the previous keys stay
// valid, and the next fetch begins at the discovery document again.
func (iss *issuerKeys) fetch(before *keyState) *keyState {
	ctx, cancel := context.WithTimeout(context.Background(), issuerTimeout)
	defer cancel()
	next := &keyState{keysURL: before.keysURL}
	if next.keysURL == "" {
		next.keysURL, next.fault = iss.discover(ctx)
	}
	if next.fault == nil {
		next.keys, next.fault = iss.read(ctx, next.keysURL)
	}
	if next.fault != nil {
		return &keyState{keys: before.keys, fault: next.fault, again: time.Now().Add(retryCooldown)}
	}
	next.again = time.Now().Add(keyCooldown)
	return next
}

// discover returns where the issuer publishes its keys.
func (iss *issuerKeys) discover(ctx context.Context) (string, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, iss.client), iss.URL)
	if err != nil {
		return "", fmt.Errorf("discovering the issuer: %w", err)
	}
	var metadata struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&metadata); err != nil {
		return "", fmt.Errorf("reading the discovery document: %w", err)
	}
	if metadata.KeysURL == "" {
		return "", errors.New("the discovery document names no jwks_uri")
	}
	return metadata.KeysURL, nil
}

func (iss *issuerKeys) read(ctx context.Context, keysURL string) (*jose.JSONWebKeySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, keysURL, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for the keys: %w", err)
	}
	resp, err := iss.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for the keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for the keys: %s answered %s", keysURL, resp.Status)
	}
	keys := new(jose.JSONWebKeySet)
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxKeySetBytes)).Decode(keys); err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	if len(keys.Keys) == 0 {
		// An answer such as a maintenance page in JSON.
		return nil, fmt.Errorf("reading the keys: %s answered with none", keysURL)
	}
	return keys, nil
}

// keyList implements oidc.KeySet over keys in memory.
type keyList []jose.JSONWebKey

// VerifySignature returns the payload of a token that one of the keys has signed.
func (list keyList) VerifySignature(_ context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, signatureAlgorithms)
	if err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	for _, key := range list {
		if payload, err := signed.Verify(&key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer verifies the signature")
}
