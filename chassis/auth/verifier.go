package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	lru "github.com/hashicorp/golang-lru/v2"
)

var (
	// ErrInvalidToken is returned for a token that no accepted issuer signed,
	// that has expired, or that was meant for somebody else.
	ErrInvalidToken = errors.New("invalid token")
	// ErrUnavailable is returned for a token whose key is not in memory while the
	// issuer cannot be asked for it.
	ErrUnavailable = errors.New("issuer unavailable")
)

const (
	// rememberedTokens bounds the verified tokens that are kept; beyond it the least recently
	// used are forgotten, and verified again when they come back.
	rememberedTokens = 40_000
	// maxTokenBytes is far above any real token and far below a header limit.
	maxTokenBytes = 8 << 10
)

// algorithms are the asymmetric ones: with HS256 an issuer's public key could be
// used as a shared secret.
var algorithms = []string{oidc.RS256, oidc.ES256, oidc.PS256, oidc.RS384, oidc.ES384, oidc.EdDSA}

var signatureAlgorithms = func() []jose.SignatureAlgorithm {
	list := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, alg := range algorithms {
		list[i] = jose.SignatureAlgorithm(alg)
	}
	return list
}()

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	issuers map[string]*issuerKeys
	known   *lru.Cache[[sha256.Size]byte, verified]
}

type verified struct {
	identity *Identity
	expiry   time.Time
}

// NewVerifier returns a verifier of these issuers' tokens. It makes no call:
// discovery happens at the first token, or at Ready.
func NewVerifier(cfg Config) *Verifier {
	v := &Verifier{issuers: make(map[string]*issuerKeys)}
	v.known, _ = lru.New[[sha256.Size]byte, verified](rememberedTokens) // fails for a size below 1 alone
	for _, iss := range cfg.Issuers {
		v.issuers[iss.URL] = newIssuerKeys(iss)
	}
	return v
}

// Ready returns nil once the keys of every issuer have been loaded, and tries to
// load those that have not, for as long as ctx and a bound of two seconds allow.
func (v *Verifier) Ready(ctx context.Context) error {
	answers := make(chan error, len(v.issuers))
	for _, iss := range v.issuers {
		go func() {
			err := iss.ready(ctx)
			if err != nil {
				err = fmt.Errorf("issuer %s: %w", iss.Name, err)
			}
			answers <- err
		}()
	}
	var faults []error
	for range v.issuers {
		faults = append(faults, <-answers)
	}
	return errors.Join(faults...)
}

// Known returns the caller of a token that has been verified before and is still in
// date, or nil. It looks only in memory and costs one digest, so that a call can be
// attributed to its caller before anything else is spent on it.
func (v *Verifier) Known(token string) *Identity {
	if len(token) > maxTokenBytes {
		return nil
	}
	entry, ok := v.known.Get(sha256.Sum256([]byte(token)))
	if !ok || !time.Now().Before(entry.expiry) {
		return nil
	}
	return entry.identity
}

// Verify returns the caller that a token stands for. Its errors match
// ErrInvalidToken, ErrUnavailable or the context's own; their text is for logs, not
// for callers. What costs nothing is checked before a key is fetched, and a
// signature last. A token whose key is in memory does not wait for anything.
func (v *Verifier) Verify(ctx context.Context, token string) (*Identity, error) {
	if id := v.Known(token); id != nil {
		return id, nil
	}
	seen, err := peek(token)
	if err != nil {
		return nil, err
	}
	// This claim only selects the issuer, whose own keys then prove it.
	iss := v.issuers[seen.body.Issuer]
	if iss == nil {
		return nil, fmt.Errorf("%w: issuer not accepted", ErrInvalidToken)
	}
	if err := seen.check(iss); err != nil {
		return nil, fmt.Errorf("%w: issuer %s: %w", ErrInvalidToken, iss.Name, err)
	}
	keys, err := iss.keysFor(ctx, seen.header.KeyID)
	if err != nil {
		return nil, fmt.Errorf("issuer %s: %w", iss.Name, err)
	}
	expiry, err := iss.verify(ctx, token, keys)
	if err != nil {
		return nil, fmt.Errorf("%w: issuer %s: %w", ErrInvalidToken, iss.Name, err)
	}
	id := seen.body.identity(iss.Issuer)
	id.Number = numberOf(iss.Issuer, seen.raw)
	v.known.Add(sha256.Sum256([]byte(token)), verified{id, expiry})
	return id, nil
}

// verify checks the signature, and that what was signed is in date.
func (iss *issuerKeys) verify(ctx context.Context, token string, keys keyList) (time.Time, error) {
	verified, err := oidc.NewVerifier(iss.URL, keys, &oidc.Config{
		// Checked before, against several values.
		SkipClientIDCheck:    true,
		SupportedSigningAlgs: algorithms,
	}).Verify(ctx, token)
	if err != nil {
		return time.Time{}, err
	}
	return verified.Expiry, nil
}

// unverified is a token as anybody may have written it.
type unverified struct {
	header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	body claims
	// raw is what body was read from, for the claim that an issuer names.
	raw []byte
}

// peek reads a token without believing it.
func peek(token string) (*unverified, error) {
	if len(token) > maxTokenBytes {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalidToken, maxTokenBytes)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w: not a JWT", ErrInvalidToken)
	}
	seen := new(unverified)
	for i, into := range []any{&seen.header, &seen.body} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: not a JWT: %w", ErrInvalidToken, err)
		}
		seen.raw = raw // at last, the claims
	}
	return seen, nil
}

// check refuses what would be refused whoever had signed it.
func (u *unverified) check(iss *issuerKeys) error {
	expiry, err := u.body.Expiry.Float64()
	switch {
	case !slices.Contains(algorithms, u.header.Algorithm):
		return errors.New("algorithm not accepted")
	case !slices.ContainsFunc(u.body.Audience, func(aud string) bool { return slices.Contains(iss.Audiences, aud) }):
		return errors.New("audience not accepted")
	case err != nil || !time.Now().Before(time.Unix(int64(expiry), 0)):
		return errors.New("lapsed, or without an expiry")
	case u.body.Subject == "":
		return errors.New("no sub")
	}
	return nil
}
