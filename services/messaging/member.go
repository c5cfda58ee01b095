package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/auth"
)

// contact is what a member can be reached by, as sealed in the table member.
type contact struct {
	Email string `json:"email,omitempty"`
	Phone string `json:"phone,omitempty"`
}

// members keeps members' contact points up to date with what their issuer says
// of them at each submission. Nothing is remembered between submissions: another
// process may have stored another address meanwhile.
type members struct {
	store *store
	keys  *keyring
}

// reach is a contact with the language to use.
type reach struct {
	contact
	locale string
}

// save stores how the caller is reached, if that is news. It commits on its own,
// before the submission: a member without a conversation harms nobody, a
// conversation whose member cannot be reached would.
func (m *members) save(ctx context.Context, id *auth.Identity) error {
	claimed := reach{contact{Email: id.Email, Phone: id.Phone}, localeOf(id.Locale)}
	kept, err := m.stored(ctx, id.Subject)
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	if err == nil && kept == claimed {
		return nil
	}
	return m.write(ctx, id.Subject, claimed)
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

// localeOf is the language of notifications: French unless English is asked for.
func localeOf(claim string) string {
	if strings.HasPrefix(strings.ToLower(claim), "en") {
		return "en"
	}
	return "fr"
}
