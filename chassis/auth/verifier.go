package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

var (
	// ErrInvalidToken is returned for a token that no accepted issuer signed,
	// that has lapsed, or that was meant for somebody else.
	ErrInvalidToken = errors.New("invalid token")
	// ErrUnavailable is returned when the issuer's keys have never been loaded.
	ErrUnavailable = errors.New("issuer unavailable")
)

const (
	// rememberedTokens bounds each of the two generations of verified tokens.
	rememberedTokens = 20_000
	// keyCooldown is the least time between two fetches of an issuer's keys on
	// account of a key id it has not published.
	keyCooldown = 5 * time.Second
	// issuerTimeout bounds one call to an issuer.
	issuerTimeout = 5 * time.Second
	// maxTokenBytes is far above any real token and far below a header limit.
	maxTokenBytes = 8 << 10
	// maxKeySetBytes bounds what is read from an issuer.
	maxKeySetBytes = 1 << 20
)

// algorithms are the asymmetric ones: with HS256 an issuer's public key could be
// used as a shared secret.
var algorithms = []string{oidc.RS256, oidc.ES256, oidc.PS256, oidc.RS384, oidc.ES384, oidc.EdDSA}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	issuers map[string]*issuerKeys
	now     func() time.Time

	mu       sync.Mutex
	young    map[[sha256.Size]byte]verified
	old      map[[sha256.Size]byte]verified
	capacity int
}

type verified struct {
	identity *Identity
	expiry   time.Time
}

// NewVerifier returns a verifier of these issuers' tokens. It calls nobody:
// discovery happens at the first token, or at Ready.
func NewVerifier(cfg Config) *Verifier {
	v := &Verifier{
		issuers:  make(map[string]*issuerKeys),
		now:      time.Now,
		young:    make(map[[sha256.Size]byte]verified),
		capacity: rememberedTokens,
	}
	for _, iss := range cfg.Issuers {
		v.issuers[iss.URL] = &issuerKeys{
			Issuer:  iss,
			client:  &http.Client{Timeout: issuerTimeout},
			limiter: rate.NewLimiter(rate.Every(keyCooldown), 1),
		}
	}
	return v
}

// Ready returns nil once the keys of every issuer have been loaded, and tries to
// load those that have not.
func (v *Verifier) Ready(ctx context.Context) error {
	var faults []error
	for _, iss := range v.issuers {
		if _, err := iss.load(ctx); err != nil {
			faults = append(faults, fmt.Errorf("issuer %s: %w", iss.Name, err))
		}
	}
	return errors.Join(faults...)
}

// Known returns the caller of a token that was verified before and is still good, or
// nil. It asks nobody and verifies nothing.
func (v *Verifier) Known(token string) *Identity {
	if len(token) > maxTokenBytes {
		return nil
	}
	return v.recall(sha256.Sum256([]byte(token)))
}

// Verify returns the caller that a token stands for. Its errors match
// ErrInvalidToken or ErrUnavailable; their text is for logs, not for callers.
func (v *Verifier) Verify(ctx context.Context, token string) (*Identity, error) {
	if len(token) > maxTokenBytes {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalidToken, maxTokenBytes)
	}
	sum := sha256.Sum256([]byte(token))
	if id := v.recall(sum); id != nil {
		return id, nil
	}
	claims, err := peek(token)
	if err != nil {
		return nil, err
	}
	// The issuer is only looked up by this claim; its own keys then prove it.
	iss := v.issuers[claims.Issuer]
	if iss == nil {
		return nil, fmt.Errorf("%w: issuer not accepted", ErrInvalidToken)
	}
	if !slices.ContainsFunc(claims.Audience, func(aud string) bool { return slices.Contains(iss.Audiences, aud) }) {
		return nil, fmt.Errorf("%w: issuer %s: audience not accepted", ErrInvalidToken, iss.Name)
	}
	expiry, err := iss.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	if claims.Subject == "" {
		return nil, fmt.Errorf("%w: issuer %s: no sub", ErrInvalidToken, iss.Name)
	}
	id := claims.identity(iss.Issuer)
	v.remember(sum, verified{id, expiry})
	return id, nil
}

func (v *Verifier) recall(sum [sha256.Size]byte) *Identity {
	v.mu.Lock()
	defer v.mu.Unlock()
	entry, ok := v.young[sum]
	if !ok {
		entry, ok = v.old[sum]
	}
	if !ok || !v.now().Before(entry.expiry) {
		return nil
	}
	return entry.identity
}

// remember keeps a token in the young generation; when that is full it becomes
// the old one, whose tokens are forgotten. No clock, no list, bounded memory.
func (v *Verifier) remember(sum [sha256.Size]byte, entry verified) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.young) >= v.capacity {
		v.old, v.young = v.young, make(map[[sha256.Size]byte]verified, v.capacity)
	}
	v.young[sum] = entry
}

// issuerKeys is an issuer with its keys, loaded at first need. It is the KeySet
// of its own verifier: go-oidc's would fetch the keys again for every unknown key
// id, as often as a caller likes to invent one.
type issuerKeys struct {
	Issuer
	client  *http.Client
	limiter *rate.Limiter

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	keysURL  string
	keys     jose.JSONWebKeySet
}

// load discovers the issuer and its keys, once.
func (iss *issuerKeys) load(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if iss.verifier != nil {
		return iss.verifier, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, iss.client), iss.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var metadata struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&metadata); err != nil {
		return nil, fmt.Errorf("%w: reading the discovery document: %w", ErrUnavailable, err)
	}
	iss.keysURL = metadata.KeysURL
	if err := iss.fetch(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	iss.verifier = oidc.NewVerifier(iss.URL, iss, &oidc.Config{
		// Checked by Verify against several values.
		SkipClientIDCheck:    true,
		SupportedSigningAlgs: algorithms,
	})
	return iss.verifier, nil
}

// fetch replaces the keys by those that the issuer publishes now. The caller
// holds the lock, so that of many callers one asks.
func (iss *issuerKeys) fetch(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, iss.keysURL, nil)
	if err != nil {
		return fmt.Errorf("asking for the keys: %w", err)
	}
	resp, err := iss.client.Do(req)
	if err != nil {
		return fmt.Errorf("asking for the keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking for the keys: %s answered %s", iss.keysURL, resp.Status)
	}
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxKeySetBytes)).Decode(&keys); err != nil {
		return fmt.Errorf("reading the keys: %w", err)
	}
	iss.keys = keys
	return nil
}

// VerifySignature implements oidc.KeySet.
func (iss *issuerKeys) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, signatureAlgorithms())
	if err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	if len(signed.Signatures) != 1 {
		return nil, fmt.Errorf("%d signatures", len(signed.Signatures))
	}
	keys, err := iss.keysFor(ctx, signed.Signatures[0].Header.KeyID)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if payload, err := signed.Verify(&key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no key of the issuer verifies the signature")
}

// keysFor returns the keys that a token with this key id may be signed with, and
// fetches them again if the id is unknown and the last such fetch is not recent.
func (iss *issuerKeys) keysFor(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if id == "" {
		return iss.keys.Keys, nil
	}
	if keys := iss.keys.Key(id); len(keys) > 0 {
		return keys, nil
	}
	if !iss.limiter.Allow() {
		return nil, fmt.Errorf("unknown key id, and the keys were fetched less than %s ago", keyCooldown)
	}
	if err := iss.fetch(ctx); err != nil {
		return nil, err
	}
	return iss.keys.Key(id), nil
}

func (iss *issuerKeys) verify(ctx context.Context, token string) (time.Time, error) {
	verifier, err := iss.load(ctx)
	if err != nil {
		return time.Time{}, err
	}
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		if ctx.Err() != nil {
			return time.Time{}, fmt.Errorf("verifying a token: %w", ctx.Err())
		}
		return time.Time{}, fmt.Errorf("%w: issuer %s: %w", ErrInvalidToken, iss.Name, err)
	}
	return verified.Expiry, nil
}

func signatureAlgorithms() []jose.SignatureAlgorithm {
	list := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, alg := range algorithms {
		list[i] = jose.SignatureAlgorithm(alg)
	}
	return list
}

type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Phone    string   `json:"phone_number"`
	Locale   string   `json:"locale"`
	Caisse   string   `json:"caisse"`
	Profiles []string `json:"profiles"`
	Queues   []string `json:"queues"`
	Roles    []string `json:"roles"`
}

func (c *claims) identity(iss Issuer) *Identity {
	return &Identity{
		Subject: iss.Name + ":" + c.Subject, Realm: iss.Realm,
		Name: c.Name, Email: c.Email, Phone: c.Phone, Locale: c.Locale, Caisse: c.Caisse,
		Profiles: c.Profiles, Queues: c.Queues, Roles: c.Roles,
	}
}

// audience is one string or a list of them (RFC 7519, 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*a = make(audience, 1)
		return json.Unmarshal(data, &(*a)[0])
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// peek reads the claims of a token without believing them.
func peek(token string) (claims, error) {
	var body claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return body, fmt.Errorf("%w: not a JWT", ErrInvalidToken)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(raw, &body)
	}
	if err != nil {
		return body, fmt.Errorf("%w: not a JWT: %w", ErrInvalidToken, err)
	}
	return body, nil
}
