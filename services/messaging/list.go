package messaging

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// ListConversations implements the guide's step 1, part 3. See the .proto.
func (s *server) ListConversations(ctx context.Context, req *messagingpb.ListConversationsRequest) (*messagingpb.ListConversationsResponse, error) {
	member := auth.FromContext(ctx).Subject
	place, err := page.PlaceOf(ctx, req)
	if err != nil {
		return nil, err
	}
	wanted := listOf(member, req)
	if place != nil && place.Second && !wanted.unreadFirst {
		return nil, rpc.ErrPageToken
	}
	size := page.Size(req.GetPageSize())
	// One row more than the page has shows whether there is another page.
	wanted.place, wanted.limit = place, size+1
	rows, err := s.store.conversationsOf(ctx, wanted)
	if err == nil && wanted.back() && len(rows) <= size {
		wanted.place = nil
		rows, err = s.store.conversationsOf(ctx, wanted)
	}
	if err != nil {
		return nil, err
	}
	more := len(rows) > size
	switch {
	case more && wanted.back():
		rows = rows[1:]
	case more:
		rows = rows[:size]
	}
	resp := &messagingpb.ListConversationsResponse{}
	if len(rows) > 0 && (more || wanted.back()) {
		resp.NextPageToken = wanted.at(&rows[len(rows)-1], false).Token(ctx, req)
	}
	switch {
	case wanted.place == nil:
	case len(rows) > 0:
		resp.PreviousPageToken = wanted.at(&rows[0], true).Token(ctx, req)
	default:
		last := *wanted.place
		last.Before = true
		resp.PreviousPageToken = last.Token(ctx, req)
	}
	resp.Conversations = s.listed(ctx, member, rows)
	if resp.UnreadCount, err = conversation.Unread(ctx, s.store.pool, member); err != nil {
		return nil, err
	}
	return resp, nil
}

// excerptPatience is how long a list waits for the vault: it is worth showing without first words.
const excerptPatience = 500 * time.Millisecond

// listed are rows as their member sees them in the list, with their first words. These are
// missing where the vault cannot be reached and the member's key is not in memory.
func (s *server) listed(ctx context.Context, member string, rows []listedRow) []*messagingpb.Conversation {
	list := make([]*messagingpb.Conversation, len(rows))
	if len(rows) > 0 {
		ctx, cancel := context.WithTimeout(ctx, excerptPatience)
		defer cancel()
		if err := s.vault.Load(ctx, []string{member}); err != nil {
			slog.WarnContext(ctx, "listing conversations without their first words", "error", err)
		}
	}
	for i := range rows {
		list[i] = s.view.Proto(&rows[i].Row)
		list[i].Excerpt = s.excerpt(ctx, &rows[i])
	}
	return list
}

// excerpt is the first words of a conversation; empty where the key is not at hand, or erased.
func (s *server) excerpt(ctx context.Context, row *listedRow) string {
	if row.FirstID == nil {
		return ""
	}
	texts, err := conversation.HeldTextsOf(s.vault, &row.Row)
	if err != nil {
		return ""
	}
	body, err := texts.OpenMessage(*row.FirstID, int16(messagingpb.Author_MEMBER), row.FirstBody)
	if err != nil {
		slog.WarnContext(ctx, "opening the first words of a conversation", "conversation_id", row.ID, "error", err)
		return ""
	}
	return text.Excerpt(body)
}

// list is a page of a member's conversations.
type list struct {
	member   string
	hidden   bool
	audience int16
	// search: those that have this reference, or all the words, of which there may be none.
	search    bool
	reference string
	words     []string
	// unreadFirst: the list has two parts, the unread ones and the others.
	unreadFirst bool
	place       *page.Place
	limit       int
}

// listOf is what a request asks for, on its first page.
func listOf(member string, req *messagingpb.ListConversationsRequest) list {
	l := list{
		member: member, hidden: req.GetHidden(), audience: int16(req.GetAudience()), //nolint:gosec // an enum of four
		unreadFirst: req.GetOrderBy() == "unread",
	}
	if req.GetQ() != "" {
		l.search, l.words = true, wordsOf(req.GetQ())
		l.reference, _ = reference.Parse(req.GetQ())
	}
	return l
}

// back reports whether the page ends before its place.
func (l list) back() bool { return l.place != nil && l.place.Before }

// at is the place after a row of the list, or before it.
func (l list) at(row *listedRow, before bool) page.Place {
	return page.Place{Key: page.Key{At: row.UpdatedAt, ID: row.ID}, Before: before, Second: l.unreadFirst && !row.Unread}
}

// listedRow is a conversation with its first message; without one if it is erased.
type listedRow struct {
	conversation.Row
	FirstID   *uuid.UUID `db:"first_id"`
	FirstBody []byte     `db:"first_body"`
}

var listedColumns = postgres.Columns[listedRow]()

// conversationsOf returns a page of a member's conversations, in the order of the list.
func (s *store) conversationsOf(ctx context.Context, l list) ([]listedRow, error) {
	sql, args := l.statement()
	rows, err := postgres.Many[listedRow](ctx, s.pool, "listing conversations", sql, args)
	if l.back() {
		slices.Reverse(rows)
	}
	return rows, err
}

// folded is a conversation's labels and reference as wordsOf makes words of what was typed, each
// behind a space. Of other letters than Latin ones nothing is left.
const folded = `regexp_replace(lower(regexp_replace(regexp_replace(regexp_replace(
	normalize(concat_ws(' ', '', theme_label, topic_label, reason_label, reference), NFKD), '[\u0300-\u036f]', '', 'g'), '[œŒ]', 'oe', 'g'), '[æÆ]', 'ae', 'g')), '[^a-z0-9]+', ' ', 'g')`

// statement reads a page. An index has a member's conversations in the order of their changes.
// Another has those with an unread reply, which are few and read whole: without OFFSET, PostgreSQL
// may look for them among all of the member's. A search reads as many of the member's conversations
// as it takes to find enough.
func (l list) statement() (sql string, args pgx.NamedArgs) {
	args = pgx.NamedArgs{"member": l.member, "hidden": l.hidden, "limit": l.limit}
	where, order, beyond := `member_id = @member AND hidden = @hidden`, ` DESC`, `<`
	if l.audience != 0 {
		where, args["audience"] = where+` AND audience = @audience`, l.audience
	}
	if l.search {
		where += ` AND (reference = @reference OR cardinality(@words::text[]) > 0 AND NOT EXISTS (
			SELECT FROM unnest(@words::text[]) AS word WHERE strpos(` + folded + `, ' ' || word) = 0))`
		args["reference"], args["words"] = l.reference, l.words
	}
	if l.back() {
		order, beyond = ` ASC`, `>`
	}
	by := `updated_at` + order + `, id` + order
	if l.place != nil {
		args["at"], args["id"] = l.place.At, l.place.ID
	}
	var parts []string
	// part adds those rows of a part of the list that are beyond the place, which may be in the
	// other part: then all or none are.
	part := func(from, which string, second bool) {
		where := where + which
		switch {
		case l.place == nil:
		case l.place.Second == second:
			where += ` AND (updated_at, id) ` + beyond + ` (@at, @id)`
		case l.place.Second != l.place.Before: // this is the first part, and all of it lies behind; or the second, and ahead
			return
		}
		parts = append(parts, `(SELECT * FROM `+from+` WHERE `+where+` ORDER BY `+by+` LIMIT @limit)`)
	}
	if l.unreadFirst {
		part(`(SELECT * FROM conversation WHERE member_id = @member AND unread OFFSET 0) AS new`, ``, false)
		part(`conversation`, ` AND NOT unread`, true)
		by = `unread` + order + `, ` + by
	} else {
		part(`conversation`, ``, false)
	}
	return `
		SELECT ` + listedColumns + ` FROM (
			SELECT * FROM (` + strings.Join(parts, ` UNION ALL `) + `) AS part ORDER BY ` + by + ` LIMIT @limit
		) AS conversation LEFT JOIN LATERAL (
			SELECT message.id AS first_id, message.body AS first_body FROM message
			WHERE message.conversation_id = conversation.id AND conversation.erased_at IS NULL
			ORDER BY message.created_at, message.id LIMIT 1
		) AS first ON true
		ORDER BY ` + by, args
}

// wordsOf cuts what was typed into words as labels are compared: without accents, in lower case,
// œ and æ spelt out. An elided word (l', d', qu') in front of another is left out, as people say
// "l'arrêt" of what is labelled "Arrêt maladie".
func wordsOf(typed string) (words []string) {
	var plain strings.Builder
	for _, r := range norm.NFKD.String(typed) {
		switch r = unicode.ToLower(r); {
		case unicode.In(r, unicode.Mn, unicode.Cf):
		case r == 'œ':
			plain.WriteString("oe")
		case r == 'æ':
			plain.WriteString("ae")
		case strings.ContainsRune("'’‘ʼ′´`", r):
			plain.WriteByte('\'')
		case unicode.IsLetter(r), unicode.IsDigit(r):
			plain.WriteRune(r)
		default:
			plain.WriteByte(' ')
		}
	}
	for _, field := range strings.Fields(plain.String()) {
		field = strings.Trim(field, "'")
		for {
			word, rest, more := strings.Cut(field, "'")
			elided := more && (len(word) == 1 || strings.HasSuffix(word, "qu"))
			if word != "" && !elided {
				words = append(words, word)
			}
			if !more {
				break
			}
			field = rest
		}
	}
	return words
}
