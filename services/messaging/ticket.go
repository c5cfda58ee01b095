package messaging

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

const (
	// ticketLife is how long a ticket is good, by the database's clock.
	ticketLife = time.Minute
	// ticketsMost is how many tickets of one caller wait to be used; the oldest makes room.
	ticketsMost = watchesMost
	// ticketTimeout bounds the look at a ticket: its call streams, and has no deadline.
	ticketTimeout = 5 * time.Second
)

// ticketHolder is what a watch needs to know of its caller: no name, no address.
type ticketHolder struct {
	Realm  auth.Realm `json:"realm"`
	Client string     `json:"client,omitempty"`
	Caisse string     `json:"caisse,omitempty"`
	Queues []string   `json:"queues,omitempty"`
	Roles  []string   `json:"roles,omitempty"`
	Scopes []string   `json:"scopes,omitempty"`
}

// CreateWatchTicket implements MessagingService. See the .proto.
func (s *server) CreateWatchTicket(ctx context.Context, _ *messagingpb.CreateWatchTicketRequest) (*messagingpb.CreateWatchTicketResponse, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("drawing a ticket: %w", err)
	}
	ticket := base64.RawURLEncoding.EncodeToString(secret)
	expires, err := s.store.addTicket(ctx, ticket, auth.FromContext(ctx))
	if err != nil {
		return nil, statusOf(err)
	}
	return &messagingpb.CreateWatchTicketResponse{Ticket: ticket, ExpireTime: timestamppb.New(expires)}, nil
}

// redeem returns who got a ticket, and makes it good no more.
func (s *server) redeem(ctx context.Context, ticket string) (*auth.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, ticketTimeout)
	defer cancel()
	id, err := s.store.takeTicket(ctx, ticket)
	if errors.Is(err, errNotFound) {
		return nil, rpc.ErrTicket
	}
	return id, statusOf(err)
}

// addTicket keeps the digest of a ticket. Of two that come at once, both may find room.
func (s *store) addTicket(ctx context.Context, ticket string, id *auth.Identity) (expires time.Time, err error) {
	digest := sha256.Sum256([]byte(ticket))
	holder, err := json.Marshal(ticketHolder{id.Realm, id.Client, id.Caisse, id.Queues, id.Roles, id.Scopes})
	if err != nil {
		return expires, fmt.Errorf("writing who gets a ticket: %w", err)
	}
	err = s.pool.QueryRow(ctx, `
		WITH room AS (
			DELETE FROM watch_ticket WHERE digest IN (
				SELECT digest FROM watch_ticket WHERE subject = $2 ORDER BY created_at DESC, digest OFFSET $4)
		)
		INSERT INTO watch_ticket (digest, subject, identity) VALUES ($1, $2, $3) RETURNING created_at + $5::interval`,
		digest[:], id.Subject, holder, ticketsMost-1, ticketLife).Scan(&expires)
	if err != nil {
		return expires, fmt.Errorf("keeping a ticket: %w", err)
	}
	return expires, nil
}

// takeTicket returns who got a ticket, if it is good: of all who come with it, to the first.
func (s *store) takeTicket(ctx context.Context, ticket string) (*auth.Identity, error) {
	digest := sha256.Sum256([]byte(ticket))
	row, err := postgres.One[struct {
		Subject  string       `db:"subject"`
		Identity ticketHolder `db:"identity"`
		Good     bool         `db:"good"`
	}](ctx, s.pool, "looking for a ticket", `DELETE FROM watch_ticket WHERE digest = $1 RETURNING subject, identity, created_at > clock_timestamp() - $2::interval AS good`,
		digest[:], ticketLife)
	if errors.Is(err, errNotFound) || err == nil && !row.Good {
		return nil, errNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a ticket: %w", err)
	}
	holder := row.Identity
	return &auth.Identity{
		Subject: row.Subject, Realm: holder.Realm, Client: holder.Client, Caisse: holder.Caisse,
		Queues: holder.Queues, Roles: holder.Roles, Scopes: holder.Scopes,
	}, nil
}

// forgetTickets deletes some of the tickets that nobody has used in time.
func (s *store) forgetTickets(ctx context.Context, life time.Duration) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM watch_ticket WHERE digest = ANY (ARRAY(
		SELECT digest FROM watch_ticket WHERE created_at <= now() - $1::interval ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))`,
		life, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("deleting old tickets: %w", err)
	}
	return tag.RowsAffected(), nil
}
