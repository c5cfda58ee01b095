package messaging

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// members keeps members' contact points up to date with what their issuer says
// of them at each submission, beside what they chose for themselves. Nothing is
// remembered between submissions: another process may have stored another address
// meanwhile.
//
// What is stored is read for many members at once, as it is written elsewhere: one
// query for all that have come while the last one was under way.
type members struct {
	*batch.Group[string, memberRow]
	store *store
	vault *vault.Vault
}

// maxLookups bounds one query.
const maxLookups = 512

func newMembers(s *store, keys *vault.Vault) *members {
	m := &members{store: s, vault: keys}
	m.Group = batch.New(batch.Config[string, memberRow]{Do: m.look, Most: maxLookups})
	return m
}

// look answers everyone in a batch with their row, or that there is none.
func (m *members) look(ctx context.Context, ids []string) ([]batch.Result[memberRow], error) {
	rows, err := m.store.membersNamed(ctx, ids)
	if err != nil {
		return nil, err
	}
	found := make([]batch.Result[memberRow], len(ids))
	for i, id := range ids {
		row, ok := rows[id]
		if found[i].Value = row; !ok {
			found[i].Err = errNotFound
		}
	}
	return found, nil
}

// reach is a contact with the language to use.
type reach struct {
	vault.Contact
	locale string
}

// save stores how the caller is reached by their account, if that is news, or was not
// confirmed today: who writes now must not lose their row to what is past its term
// (retention.go). It commits on its own, before the submission: a member without a conversation harms
// nobody, a conversation whose member cannot be reached would.
func (m *members) save(ctx context.Context, id *auth.Identity) error {
	claimed := accountOf(id)
	kept, fresh, err := m.stored(ctx, id.Subject)
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	if err == nil && kept == claimed && fresh {
		return nil
	}
	sealed, err := m.vault.SealContact(vault.FromAccount, id.Subject, claimed.Contact)
	if err != nil {
		return err
	}
	return m.store.saveMember(ctx, id.Subject, sealed, claimed.locale)
}

// accountOf is how the caller's token says that they are reached.
func accountOf(id *auth.Identity) reach {
	return reach{vault.Contact{Email: id.Email, Phone: id.Phone}, localeOf(id.Locale)}
}

// stored is how a member is reached, and whether that was confirmed today.
func (m *members) stored(ctx context.Context, member string) (kept reach, fresh bool, err error) {
	row, err := m.Submit(ctx, member)
	if err != nil {
		return reach{}, false, err
	}
	c, err := m.vault.OpenContact(vault.FromAccount, member, row.Contact)
	return reach{c, row.Locale}, row.Fresh, err
}

// localeOf is the language of notifications: French unless English is asked for.
func localeOf(claim string) string {
	if strings.HasPrefix(strings.ToLower(claim), "en") {
		return "en"
	}
	return "fr"
}

// memberRow is how a member is reached by their account.
type memberRow struct {
	ID      string `db:"id"`
	Contact []byte `db:"contact"`
	Locale  string `db:"locale"`
	// Fresh: stored or confirmed within the last day.
	Fresh bool `db:"fresh"`
}

// membersNamed returns those of the members that have ever written.
func (s *store) membersNamed(ctx context.Context, ids []string) (map[string]memberRow, error) {
	rows, err := postgres.Many[memberRow](ctx, s.pool, "reading members", `SELECT id, contact, locale, updated_at > now() - interval '1 day' AS fresh FROM member WHERE id = ANY($1)`, ids)
	found := make(map[string]memberRow, len(rows))
	for _, row := range rows {
		found[row.ID] = row
	}
	return found, err
}

// saveMember stores how a member is reached.
func (s *store) saveMember(ctx context.Context, member string, sealed []byte, locale string) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO member (id, contact, locale) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET contact = excluded.contact, locale = excluded.locale, updated_at = now()`,
		member, sealed, locale)
	if err != nil {
		return fmt.Errorf("storing a member: %w", err)
	}
	return nil
}
