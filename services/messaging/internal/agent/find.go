package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

// FindConversations implements AgentService. See the .proto.
func (s *Server) FindConversations(ctx context.Context, req *messagingpb.FindConversationsRequest) (*messagingpb.FindConversationsResponse, error) {
	agent := auth.FromContext(ctx)
	by, err := searchOf(req)
	if err != nil {
		return nil, err
	}
	after, err := page.Of(ctx, req)
	if err != nil {
		return nil, err
	}
	if by.action == lifecycle.FindByNumber { // before a connection is held
		if by.hash, err = s.Vault.HashNumber(ctx, by.number); err != nil {
			return nil, err
		}
	}
	size := page.Size(req.GetPageSize())
	rows, err := s.find(ctx, agent, by, after, size+1)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.FindConversationsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = page.Next(ctx, req, rows[size-1].UpdatedAt, rows[size-1].ID)
	}
	resp.Conversations = s.listed(rows, agent)
	return resp, nil
}

// search is what conversations are looked for by: one of the three.
type search struct {
	// action is what the audit calls it.
	action       lifecycle.Action
	reference    string
	number       vault.Number
	conversation uuid.UUID
	// hash is that of the number.
	hash []byte
}

// searchOf reads what is looked for, and finds out whether it can be.
func searchOf(req *messagingpb.FindConversationsRequest) (by search, err error) {
	var faults []error
	given, field := 0, "reference"
	if req.GetReference() != "" {
		given, by.action = given+1, lifecycle.FindByReference
		var ok bool
		if by.reference, ok = reference.Parse(req.GetReference()); !ok {
			faults = append(faults, rpc.Invalid("reference", errorpb.ErrorReason_REFERENCE_INVALID, "no conversation can have this reference: a character is wrong or missing, or two are swapped"))
		}
	}
	if req.GetMemberNumber() != "" {
		given, field, by.action = given+1, "memberNumber", lifecycle.FindByNumber
		if by.number = vault.NumberOf(req.GetMemberNumber()); by.number == "" {
			faults = append(faults, rpc.Invalid("memberNumber", errorpb.ErrorReason_SEARCH_INVALID, "a number has at least one letter or digit"))
		}
	}
	if req.GetConversationId() != "" {
		given, field, by.action = given+1, "conversationId", lifecycle.FindOfMember
		by.conversation, _ = uuid.Parse(req.GetConversationId()) // what is none breaks a rule of the .proto
	}
	if given != 1 {
		faults = append(faults, rpc.Invalid(field, errorpb.ErrorReason_SEARCH_INVALID, "give exactly one of reference, memberNumber and conversationId"))
	}
	return by, rpc.JoinFaults(faults...)
}

// find reads what an agent may see of what they look for, the last changed first, and records
// in the audit that they have looked, whatever is found, in one transaction.
func (s *Server) find(ctx context.Context, agent *auth.Identity, by search, after *page.Key, limit int) (found []conversation.Listed, err error) {
	sc := conversation.ScopeOf(agent)
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		done := conversation.By(agent, by.action, &conversation.Row{Opened: conversation.Opened{Caisse: agent.Caisse}})
		batch := &pgx.Batch{}
		if by.action == lifecycle.FindByNumber {
			queueOfNumber(batch, sc, by.hash, after, limit, &found)
		} else if row, err := visible(ctx, tx, sc, by); err == nil {
			done = conversation.By(agent, by.action, &row.Row)
			if by.action == lifecycle.FindByReference {
				found = []conversation.Listed{row}
			} else { // one that is erased has no member, and no others
				queueOthers(batch, sc, &row.Row, after, limit, &found)
			}
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		conversation.QueueAudit(batch, []conversation.Audited{done})
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("looking for conversations: %w", err)
		}
		return nil
	})
	return found, err
}

// visible returns the conversation with a reference or an id, if the agent may see it.
func visible(ctx context.Context, tx pgx.Tx, sc conversation.Scope, by search) (conversation.Listed, error) {
	args, where := sc.Args(), `reference = @reference`
	if args["reference"], args["id"] = by.reference, by.conversation; by.action == lifecycle.FindOfMember {
		where = `id = @id`
	}
	return postgres.One[conversation.Listed](ctx, tx, "looking for a conversation",
		`SELECT `+conversation.ListedColumns+` FROM conversation WHERE `+where+` AND `+conversation.WithinScope, args)
}

// queueOthers queues the statement that reads the conversations of the same member as one,
// which is not among them.
func queueOthers(batch *pgx.Batch, sc conversation.Scope, of *conversation.Row, after *page.Key, limit int, found *[]conversation.Listed) {
	args := sc.Args()
	args["member"], args["itself"] = of.MemberID, of.ID
	queueOfMembers(batch, `(SELECT @member::text AS id)`, ` AND id <> @itself`, args, after, limit, found)
}

// mostAccounts is how many accounts with one number are looked into: somebody has one or two,
// and an issuer that gives all its members the same number is not to slow the database down.
const mostAccounts = 50

// queueOfNumber queues the statement that reads the conversations of all members with a number.
func queueOfNumber(batch *pgx.Batch, sc conversation.Scope, hash []byte, after *page.Key, limit int, found *[]conversation.Listed) {
	args := sc.Args()
	args["hash"], args["accounts"] = hash, mostAccounts
	queueOfMembers(batch, `(SELECT id FROM member WHERE number_hash = @hash LIMIT @accounts)`, ``, args, after, limit, found)
}

// queueOfMembers queues the statement that reads conversations of some members, the last changed
// first. Their index has those that the member has hidden apart; as many of each as the page has
// are merged. Rows are read at once, as it takes them to say whether the agent may see them.
func queueOfMembers(batch *pgx.Batch, members, where string, args pgx.NamedArgs, after *page.Key, limit int, found *[]conversation.Listed) {
	if args["limit"] = limit; after != nil {
		where += ` AND (updated_at, id) < (@at, @before)`
		args["at"], args["before"] = after.At, after.ID
	}
	batch.Queue(`
		SELECT page.* FROM `+members+` AS of_member, unnest('{f,t}'::boolean[]) AS of_hidden, LATERAL (
			SELECT `+conversation.ListedColumns+` FROM conversation WHERE member_id = of_member.id AND hidden = of_hidden AND `+conversation.WithinScope+where+`
			ORDER BY updated_at DESC, id DESC LIMIT @limit) AS page
		ORDER BY updated_at DESC, id DESC LIMIT @limit`, args).Query(func(rows pgx.Rows) (err error) {
		*found, err = pgx.CollectRows(rows, pgx.RowToStructByName[conversation.Listed])
		return err
	})
}

// listed are rows as an agent sees them in lists.
func (s *Server) listed(rows []conversation.Listed, id *auth.Identity) []*messagingpb.Conversation {
	list := make([]*messagingpb.Conversation, len(rows))
	for i := range rows {
		list[i] = s.forAgent(&rows[i].Row, rows[i].LastMessageID, id)
	}
	return list
}
