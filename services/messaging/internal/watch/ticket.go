package watch

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
)

const (
	// TicketLife is how long a ticket is good, by the database's clock.
	TicketLife = time.Minute
	// ticketsMost is how many tickets of one caller wait to be used; the oldest makes room.
	ticketsMost = most
	// ticketTimeout bounds the look at a ticket: its call streams, and has no deadline.
	ticketTimeout = 5 * time.Second
)

// ErrTicket is what somebody gets who comes with a ticket that is not good, or no longer.
var ErrTicket = rpc.ErrTicket

// Tickets are those of a database.
type Tickets struct{ pool *pgxpool.Pool }

// secretBytes is how much of a ticket is drawn at random.
const secretBytes = 32

// Issue draws a ticket for somebody, and keeps its digest. Of two that come at once, both may
// find room.
func (t *Tickets) Issue(ctx context.Context, id *auth.Identity) (ticket string, expires time.Time, err error) {
	secret := make([]byte, secretBytes)
	if _, err := rand.Read(secret); err != nil {
		return "", expires, fmt.Errorf("drawing a ticket: %w", err)
	}
	ticket = base64.RawURLEncoding.EncodeToString(secret)
	digest := sha256.Sum256([]byte(ticket))
	holder, err := json.Marshal(holder{id.Realm, id.Client, id.Caisse, id.Queues, id.Roles, id.Scopes})
	if err != nil {
		return "", expires, fmt.Errorf("writing who gets a ticket: %w", err)
	}
	err = t.pool.QueryRow(ctx, `
		WITH room AS (
			DELETE FROM watch_ticket WHERE digest IN (
				SELECT digest FROM watch_ticket WHERE subject = $2 ORDER BY created_at DESC, digest OFFSET $4)
		)
		INSERT INTO watch_ticket (digest, subject, identity) VALUES ($1, $2, $3) RETURNING created_at + $5::interval`,
		digest[:], id.Subject, holder, ticketsMost-1, TicketLife).Scan(&expires)
	if err != nil {
		return "", expires, fmt.Errorf("keeping a ticket: %w", err)
	}
	return ticket, expires, nil
}

// Redeem returns who got a ticket, if it is good: of all who come with it, to the first. Its
// time is bounded, as its call streams, and has no deadline.
func (t *Tickets) Redeem(ctx context.Context, ticket string) (*auth.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, ticketTimeout)
	defer cancel()
	digest := sha256.Sum256([]byte(ticket))
	row, err := postgres.One[struct {
		Subject  string `db:"subject"`
		Identity holder `db:"identity"`
		Good     bool   `db:"good"`
	}](ctx, t.pool, "looking for a ticket", `DELETE FROM watch_ticket WHERE digest = $1 RETURNING subject, identity, created_at > clock_timestamp() - $2::interval AS good`,
		digest[:], TicketLife)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !row.Good {
		return nil, ErrTicket
	}
	if err != nil {
		return nil, err
	}
	holder := row.Identity
	return &auth.Identity{
		Subject: row.Subject, Realm: holder.Realm, Client: holder.Client, Caisse: holder.Caisse,
		Queues: holder.Queues, Roles: holder.Roles, Scopes: holder.Scopes,
	}, nil
}

// Forget deletes some of the tickets that nobody has used in time.
func (t *Tickets) Forget(ctx context.Context, life time.Duration) (int64, error) {
	tag, err := t.pool.Exec(ctx, `DELETE FROM watch_ticket WHERE digest = ANY (ARRAY(
		SELECT digest FROM watch_ticket WHERE created_at <= now() - $1::interval ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		life, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("deleting old tickets: %w", err)
	}
	return tag.RowsAffected(), nil
}

// NewTickets returns the tickets of a database.
func NewTickets(pool *pgxpool.Pool) *Tickets { return &Tickets{pool} }

// holder is what a watch needs to know of its caller: no name, no address.
type holder struct {
	Realm  auth.Realm `json:"realm"`
	Client string     `json:"client,omitempty"`
	Caisse string     `json:"caisse,omitempty"`
	Queues []string   `json:"queues,omitempty"`
	Roles  []string   `json:"roles,omitempty"`
	Scopes []string   `json:"scopes,omitempty"`
}
