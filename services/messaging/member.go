package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// contact is what a member can be reached by, as sealed in the table member.
type contact struct {
	Email string `json:"email,omitempty"`
	Phone string `json:"phone,omitempty"`
}

// rememberedMembers bounds each of the two generations of members.
const rememberedMembers = 50_000

// members keeps members' contact points up to date with what their issuer says
// of them at each submission. It remembers whom it has written, so that a member
// who writes again costs no query.
type members struct {
	store *store
	keys  *keyring

	mu         sync.Mutex
	young, old map[string]reach
}

// reach is a contact with the language to use.
type reach struct {
	contact
	locale string
}

func newMembers(s *store, keys *keyring) *members {
	return &members{store: s, keys: keys, young: make(map[string]reach)}
}

// save stores how the caller is reached, if that is news. It commits on its own,
// before the submission: a member without a conversation harms nobody, a
// conversation whose member cannot be reached would.
func (m *members) save(ctx context.Context, id *auth.Identity) error {
	claimed := reach{contact{Email: id.Email, Phone: id.Phone}, localeOf(id.Locale)}
	if m.knows(id.Subject, claimed) {
		return nil
	}
	kept, err := m.stored(ctx, id.Subject)
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	if errors.Is(err, errNotFound) || kept != claimed {
		if err := m.write(ctx, id.Subject, claimed); err != nil {
			return err
		}
	}
	m.remember(id.Subject, claimed)
	return nil
}

func (m *members) write(ctx context.Context, member string, r reach) error {
	plain, err := json.Marshal(r.contact)
	if err != nil {
		return fmt.Errorf("encoding contact points: %w", err)
	}
	sealed, err := m.keys.sealContact(member, plain)
	if err != nil {
		return err
	}
	return m.store.saveMember(ctx, member, sealed, r.locale)
}

func (m *members) stored(ctx context.Context, member string) (reach, error) {
	sealed, locale, err := m.store.memberContact(ctx, member)
	if err != nil {
		return reach{}, err
	}
	c, err := m.open(member, sealed)
	return reach{c, locale}, err
}

// open decrypts the contact points of a member.
func (m *members) open(member string, sealed []byte) (contact, error) {
	var c contact
	plain, err := m.keys.openContact(member, sealed)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		// The decoder's error could quote what it read.
		return c, errors.New("decoding contact points: not the form they were written in")
	}
	return c, nil
}

func (m *members) knows(member string, r reach) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.young[member]
	if !ok {
		known, ok = m.old[member]
	}
	return ok && known == r
}

func (m *members) remember(member string, r reach) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= rememberedMembers {
		m.old, m.young = m.young, make(map[string]reach)
	}
	m.young[member] = r
}

// localeOf is the language of notifications: French unless English is asked for.
func localeOf(claim string) string {
	if strings.HasPrefix(strings.ToLower(claim), "en") {
		return "en"
	}
	return "fr"
}
