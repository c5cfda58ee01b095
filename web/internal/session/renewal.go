package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
)

const (
	// pageMargin is how long before its end a page renews the access token,
	// scriptMargin how long before it what scripts ask for behind a page does.
	pageMargin   = 30 * time.Second
	scriptMargin = 5 * time.Second
	// renewalKept is how long requests with the old cookie get the new tokens: longer
	// than a browser has them under way.
	renewalKept = 10 * time.Second
	// renewalsMost bounds how many are kept, at some kilobytes each.
	renewalsMost = 1024
)

// margin is how long before the end of the access token a request renews it. A request
// without the header is taken for a page.
func margin(r *http.Request) time.Duration {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		return scriptMargin
	}
	return pageMargin
}

// errNotRenewed: the provider has given no refresh token, or no longer takes it.
var errNotRenewed = errors.New("the access token cannot be renewed")

// renewals are the exchanges of refresh tokens under way and just done, by the digest of
// the token that was given.
type renewals struct {
	underway singleflight.Group
	done     *expirable.LRU[string, *oauth2.Token]
}

func newRenewals() renewals {
	return renewals{done: expirable.NewLRU[string, *oauth2.Token](renewalsMost, nil, renewalKept)}
}

// renew puts new tokens into a session.
func (k *Keeper) renew(ctx context.Context, held *Session) error {
	party := k.realms[held.Realm]
	if party == nil || held.Refresh == "" {
		return errNotRenewed
	}
	token, err := party.exchange(ctx, k.public, held.Refresh)
	if err != nil {
		return err
	}
	held.Access, held.Expiry = token.AccessToken, token.Expiry
	if token.RefreshToken != "" {
		held.Refresh = token.RefreshToken
	}
	return nil
}

// exchange gives the tokens for a refresh token. Whoever leaves does not end it for the
// others.
func (rp *relyingParty) exchange(ctx context.Context, public, refresh string) (*oauth2.Token, error) {
	digest := sha256.Sum256([]byte(refresh))
	key := string(digest[:])
	asked := rp.renewals.underway.DoChan(key, func() (any, error) {
		if token, ok := rp.renewals.done.Get(key); ok {
			return token, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), providerTimeout)
		defer cancel()
		cfg, _, err := rp.config(ctx, public)
		if err != nil {
			return nil, err
		}
		token, err := cfg.TokenSource(oidc.ClientContext(ctx, rp.client), &oauth2.Token{RefreshToken: refresh}).Token()
		if err != nil {
			return nil, withoutBody(err)
		}
		rp.renewals.done.Add(key, token)
		return token, nil
	})
	select {
	case answer := <-asked:
		token, _ := answer.Val.(*oauth2.Token)
		return token, answer.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
