// Package member has what is kept of a member: how to contact them, by their account and by
// their own choice, and their GDPR rights, the export of everything (article 20) and its
// erasure (article 17). The notifier reads recipients here.
//
// Contact points are encrypted (package vault), and are in no event.
package member

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// Config is what [New] needs.
type Config struct {
	DB      *pgxpool.Pool
	Reports *reports.Reports
	Vault   *vault.Vault
	Drafts  *draft.Drafts
	// Taxonomy says to whom a message goes and when an answer is announced.
	Taxonomy *taxonomy.Versions
	Hints    *watch.Hints
	// Wake has the relay look at what was committed.
	Wake func()
}

// Members are the calls of MessagingService and RecipientService that are about members.
//
// Their contact points are kept up to date with what their issuer says of them at each
// submission, beside what they chose for themselves. Nothing is remembered between
// submissions: another process may have stored another address meanwhile. What is stored is
// read for many members at once, as it is written elsewhere: one query for all that have
// come while the last one was under way.
type Members struct {
	Config
	lookups *batch.Group[string, memberRow]
}

// maxLookups bounds one query.
const maxLookups = 512

// New returns the members in a database.
func New(cfg Config) *Members {
	m := &Members{Config: cfg}
	m.lookups = batch.New(batch.Config[string, memberRow]{Do: m.look, Most: maxLookups})
	return m
}

// Run looks members up until ctx is done.
func (m *Members) Run(ctx context.Context) { m.lookups.Run(ctx) }

// look answers everyone in a batch with their row, or that there is none.
func (m *Members) look(ctx context.Context, ids []string) ([]batch.Result[memberRow], error) {
	rows, err := m.named(ctx, ids)
	if err != nil {
		return nil, err
	}
	found := make([]batch.Result[memberRow], len(ids))
	for i, id := range ids {
		row, ok := rows[id]
		if found[i].Value = row; !ok {
			found[i].Err = pgx.ErrNoRows
		}
	}
	return found, nil
}

// reach is a contact with the language to use.
type reach struct {
	vault.Contact
	locale string
}

// SaveAccount stores the contact points of the caller's account if they have changed, or were
// not confirmed within a day: package upkeep must not delete the row of a member who is
// writing. It commits on its own, before the submission: a member without a conversation
// harms nobody, a conversation whose member cannot be reached would.
func (m *Members) SaveAccount(ctx context.Context, id *auth.Identity) error {
	claimed := accountOf(id)
	kept, fresh, err := m.stored(ctx, id.Subject)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if err == nil && kept == claimed && fresh {
		return nil
	}
	sealed, err := m.Vault.SealContact(vault.FromAccount, id.Subject, claimed.Contact)
	if err != nil {
		return err
	}
	return m.store(ctx, id.Subject, sealed, claimed.locale)
}

// accountOf is how the caller's token says that they are reached.
func accountOf(id *auth.Identity) reach {
	return reach{vault.Contact{Email: id.Email, Phone: id.Phone}, localeOf(id.Locale)}
}

// stored is how a member is reached, and whether that was confirmed today.
func (m *Members) stored(ctx context.Context, member string) (kept reach, fresh bool, err error) {
	row, err := m.lookups.Submit(ctx, member)
	if err != nil {
		return reach{}, false, err
	}
	c, err := m.Vault.OpenContact(vault.FromAccount, member, row.Contact)
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

// named returns those of the members that have ever written.
func (m *Members) named(ctx context.Context, ids []string) (map[string]memberRow, error) {
	rows, err := postgres.Many[memberRow](ctx, m.DB, "reading members", `SELECT id, contact, locale, updated_at > now() - interval '1 day' AS fresh FROM member WHERE id = ANY($1)`, ids)
	found := make(map[string]memberRow, len(rows))
	for _, row := range rows {
		found[row.ID] = row
	}
	return found, err
}

// store stores how a member is reached.
func (m *Members) store(ctx context.Context, member string, sealed []byte, locale string) error {
	_, err := postgres.Exec(ctx, m.DB, "storing a member", `
		INSERT INTO member (id, contact, locale) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET contact = excluded.contact, locale = excluded.locale, updated_at = now()`,
		member, sealed, locale)
	return err
}
