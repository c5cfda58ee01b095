// Package member has what is kept of a member: who they are by their account, how to contact
// them, by their account and by their own choice, and their GDPR rights, the export of
// everything (article 20) and its erasure (article 17). The notifier reads recipients here.
//
// Names, numbers and contact points are encrypted (package vault), and are in no event. By a
// number, members are found by a keyed hash of it.
package member

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
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
	View     conversation.View
	// Texted are the countries to whose numbers SMS are sent; none stands for contact.France.
	Texted contact.Countries
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
	if len(cfg.Texted) == 0 {
		cfg.Texted = contact.France
	}
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

// reach is what a member's account says of them, with the language to use.
type reach struct {
	vault.Account
	locale string
}

// SaveAccount stores what the caller's account says of them if it has changed, or was not
// confirmed within a day: package upkeep must not delete the row of a member who is
// writing. It commits on its own, before the submission: a member without a conversation
// harms nobody, a conversation whose member cannot be reached would.
func (m *Members) SaveAccount(ctx context.Context, id *auth.Identity) error {
	claimed := m.accountOf(id).reach
	kept, fresh, err := m.stored(ctx, id.Subject)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if err == nil && kept == claimed && fresh {
		return nil
	}
	err = m.store(ctx, id.Subject, claimed)
	if errors.Is(err, vault.ErrErased) { // since it was sealed, by another process
		err = m.store(ctx, id.Subject, claimed)
	}
	return err
}

// account is what a member's issuer says of them: how they are reached, and what it has said of
// contact points that cannot be used, and why.
type account struct {
	reach
	said                   vault.Contact
	emailFault, phoneFault string
}

// accountOf is who the caller's token says that they are. Its contact points are held to the
// rules of those that members choose: one that cannot be used is not kept, and they are told.
func (m *Members) accountOf(id *auth.Identity) account {
	of := account{reach: reach{vault.Account{Name: id.Name, Number: id.Number}, localeOf(id.Locale)}}
	var fault *contact.Fault
	if !plain.Blank(id.Email) {
		address, err := contact.Email(id.Email)
		if of.Email, of.said.Email = address, address; errors.As(err, &fault) {
			of.said.Email, of.emailFault = id.Email, fault.Reason.String()
		}
	}
	if !plain.Blank(id.Phone) {
		number, err := contact.Texted(id.Phone, m.Texted)
		if of.Phone, of.said.Phone = number.E164, number.E164; errors.As(err, &fault) {
			of.said.Phone, of.phoneFault = id.Phone, fault.Reason.String()
		}
	}
	return of
}

// stored is what is stored of a member's account, and whether that was confirmed today; [pgx.ErrNoRows] if
// nothing is stored, or what is has been erased.
func (m *Members) stored(ctx context.Context, member string) (kept reach, fresh bool, err error) {
	row, err := m.lookups.Submit(ctx, member)
	if err != nil {
		return reach{}, false, err
	}
	key, err := m.Vault.Key(ctx, member, row.KeyID)
	if errors.Is(err, vault.ErrErased) || errors.Is(err, vault.ErrLost) {
		return reach{}, false, pgx.ErrNoRows
	}
	if err != nil {
		return reach{}, false, err
	}
	account, err := key.OpenAccount(row.Contact)
	return reach{account, row.Locale}, row.Fresh, err
}

// localeOf is the language of notifications: French unless English is asked for.
func localeOf(claim string) string {
	if strings.HasPrefix(strings.ToLower(claim), "en") {
		return "en"
	}
	return "fr"
}

// memberRow is a member by their account.
type memberRow struct {
	ID      string    `db:"id"`
	KeyID   uuid.UUID `db:"key_id"`
	Contact []byte    `db:"contact"`
	Locale  string    `db:"locale"`
	// Fresh: stored or confirmed within the last day.
	Fresh bool `db:"fresh" sql:"updated_at > now() - interval '1 day'"`
}

var memberColumns = postgres.Columns[memberRow]()

// named returns those of the members that have ever written.
func (m *Members) named(ctx context.Context, ids []string) (map[string]memberRow, error) {
	rows, err := postgres.Many[memberRow](ctx, m.DB, "reading members", `SELECT `+memberColumns+` FROM member WHERE id = ANY($1)`, ids)
	found := make(map[string]memberRow, len(rows))
	for _, row := range rows {
		found[row.ID] = row
	}
	return found, err
}

// store seals and stores what a member's account says, with a hash to find them by. What was sealed by an earlier key of theirs,
// which is gone, goes with it. [vault.ErrErased]: the key was erased before it was stored.
func (m *Members) store(ctx context.Context, member string, by reach) error {
	key, err := m.Vault.Of(ctx, member)
	if err != nil {
		return err
	}
	sealed, err := key.SealAccount(by.Account)
	if err != nil {
		return err
	}
	hash, err := m.Vault.HashNumber(ctx, vault.NumberOf(by.Number))
	if err != nil {
		return err
	}
	stored, err := postgres.Exec(ctx, m.DB, "storing a member", `
		INSERT INTO member (id, key_id, contact, locale, number_hash)
		SELECT given.* FROM (VALUES ($1::text, $2::uuid, $3::bytea, $4::text, $5::bytea)) AS given (id, key_id, contact, locale, number_hash) WHERE `+vault.NotErased("given.key_id")+`
		ON CONFLICT (id) DO UPDATE SET key_id = excluded.key_id, contact = excluded.contact, locale = excluded.locale, number_hash = excluded.number_hash, updated_at = now(),
			chosen = CASE WHEN member.key_id = excluded.key_id THEN member.chosen END`,
		member, key.ID, sealed, by.locale, hash)
	if err == nil && stored == 0 {
		if err = m.Vault.CheckErased(ctx, m.DB, key.ID); err == nil {
			err = vault.ErrRetiring // until a moment ago
		}
	}
	return err
}

// WithoutData returns those of some members of whom nothing is stored.
func WithoutData(ctx context.Context, db postgres.Querier, members []string) ([]string, error) {
	return postgres.Many[string](ctx, db, "looking for members of whom nothing is stored", `
		SELECT asked.who FROM unnest($1::text[]) AS asked (who)
		WHERE NOT EXISTS (SELECT FROM member WHERE id = asked.who)
		  AND NOT EXISTS (SELECT FROM conversation WHERE member_id = asked.who)
		  AND NOT EXISTS (SELECT FROM draft WHERE member_id = asked.who)`, members)
}
