// Package auth says who is calling. It verifies bearer tokens (OIDC, JWT) of a
// fixed list of issuers and turns their claims into an Identity.
//
// What is promised: an Identity in a context was signed, is in date, was meant
// for us (audience), and its realm is that of the issuer that signed it, so a
// token of the members' issuer never makes an agent, whatever it claims. Every
// process verifies for itself; no header is believed.
//
// How: go-oidc with discovery; asymmetric algorithms alone. Verified tokens are
// remembered until they expire, because a signature costs 60 µs and each call is
// checked by two processes. Keys are read from memory without a lock. An unknown key id
// leads to at most one fetch of its issuer's keys every five seconds, for all callers
// together and under a context of its own, so that forged tokens can neither make us
// flood the issuer nor make anybody else wait.
//
// Other claims are cleaned and cut (see Identity): they are never a reason to refuse the
// token, and never longer than a database or a log takes.
//
// When it breaks: a token is believed until it expires, even after its owner has signed
// out; issuers should make them short-lived (an hour or less). While an issuer cannot be
// reached, tokens whose key is in memory are still accepted, and others wait for at most
// two seconds and are refused as UNAVAILABLE, never as invalid.
package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
)

// Realm is the kind of caller that an issuer vouches for.
type Realm string

// The three kinds of callers.
const (
	RealmMember  Realm = "member"
	RealmAgent   Realm = "agent"
	RealmMachine Realm = "machine"
)

// Roles that claims may give. A member has none.
const (
	RoleAgent      = "agent"
	RoleSupervisor = "supervisor"
	RoleOperator   = "operator"
	// RoleService marks this system's own processes.
	RoleService = "service"
)

// AllQueues is the name that, among the queues of an agent, means every queue.
const AllQueues = "*"

// Identity is a verified caller.
type Identity struct {
	// Subject names the person or machine, unique over all issuers: the issuer's
	// name, a colon, and the token's sub. A sub of more than 255 bytes, or with
	// control characters or invalid text, is replaced by "sha256:" and its digest.
	Subject string
	// Realm is that of the issuer.
	Realm Realm
	// Name is the claim name on one line, cut after 200 characters. Email, Phone and
	// Locale are the claims email, phone_number and locale; one with control
	// characters, or longer than any can be, is empty. They are never logged.
	Name, Email, Phone, Locale string
	// Number is the fund's identifier of a member, in the claim that their issuer's
	// NumberClaim names: a text or a whole number. One with control characters, or of more
	// than 64 bytes, is empty, and so is that of anybody else. It is never logged.
	Number string
	// Caisse is the local fund that the caller belongs to, in lower case; empty if the
	// claim cannot be one.
	Caisse string
	// Profiles are the audiences under which a member may act ("PARTICULIER",
	// "EXPLOITANT", "EMPLOYEUR"). They, Queues and Roles are 256 at most each; an
	// entry with control characters or of more than 64 bytes is left out, since
	// cleaning it could make a right that nobody gave.
	Profiles []string
	// Queues are those whose conversations an agent may see; "*" is all.
	Queues []string
	// Roles are what an agent or a machine may do.
	Roles []string
	// Scopes are what the token was made for (claim scope, or scp), 256 at most, as Roles.
	Scopes []string
	// Client is who the token was issued to (claim client_id, or azp; else sub), empty if
	// the claim cannot be one. For a machine it is the machine.
	Client string
}

// HasRole reports whether the identity was given the role.
func (id *Identity) HasRole(role string) bool { return slices.Contains(id.Roles, role) }

// LogValue keeps names and contact points out of logs.
func (id *Identity) LogValue() slog.Value { return slog.StringValue(id.Subject) }

type contextKey struct{}

// NewContext returns a context that carries the caller.
func NewContext(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// FromContext returns the caller, or nil when the call is anonymous.
func FromContext(ctx context.Context) *Identity {
	id, _ := ctx.Value(contextKey{}).(*Identity)
	return id
}

// Issuer is one party whose tokens are accepted.
type Issuer struct {
	// Name prefixes the subjects of this issuer. It is stored with members'
	// data: never change it. Empty takes the realm.
	Name string `json:"name"`
	// URL is the issuer identifier, where discovery starts.
	URL string `json:"url"`
	// Realm is the kind of its callers.
	Realm Realm `json:"realm"`
	// Audiences are the accepted values of the claim aud; at least one.
	Audiences []string `json:"audiences"`
	// NumberClaim is the claim that has the fund's identifier of a member, a text or a whole
	// number; "member_number" if it is empty. For realm member alone.
	NumberClaim string `json:"numberClaim"`
}

// Issuers is a list of issuers, written in JSON in an environment variable.
type Issuers []Issuer

// UnmarshalText reads the JSON and checks every issuer.
func (list *Issuers) UnmarshalText(text []byte) error {
	var issuers []Issuer
	if err := json.Unmarshal(text, &issuers); err != nil {
		return fmt.Errorf("issuers must be a JSON list of {name,url,realm,audiences,numberClaim}: %w", err)
	}
	var faults []error
	for i := range issuers {
		faults = append(faults, issuers[i].check())
	}
	*list = issuers
	return errors.Join(faults...)
}

func (iss *Issuer) check() error {
	if iss.Name == "" {
		iss.Name = string(iss.Realm)
	}
	if iss.Realm == RealmMember {
		iss.NumberClaim = cmp.Or(iss.NumberClaim, defaultNumberClaim)
	}
	u, err := url.Parse(iss.URL)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return fmt.Errorf("issuer %q: url %q is not an http(s) address", iss.Name, iss.URL)
	case !slices.Contains([]Realm{RealmMember, RealmAgent, RealmMachine}, iss.Realm):
		return fmt.Errorf("issuer %q: realm %q is none of member, agent, machine", iss.Name, iss.Realm)
	case len(iss.Audiences) == 0:
		return fmt.Errorf("issuer %q: audiences is empty: any token of this issuer would do", iss.Name)
	case iss.NumberClaim != "" && iss.Realm != RealmMember:
		return fmt.Errorf("issuer %q: numberClaim is for realm member alone: nobody else has a number", iss.Name)
	}
	return nil
}

// Config is what a process that verifies tokens needs. Embed it.
type Config struct {
	// Issuers are the accepted issuers, as JSON:
	// [{"name":"usagers","url":"https://…","realm":"member","audiences":["messagerie"],"numberClaim":"member_number"}]
	Issuers Issuers `env:"ISSUERS,required"`
}
