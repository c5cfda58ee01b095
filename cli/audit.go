package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// showAudit is `messagerie audit`.
type showAudit struct {
	Conversation string `help:"Only about this conversation, by its id."`
	Agent        string `help:"Only of this agent or machine, by their id."`
	Since        moment `help:"Only since then: 24h for the last 24 hours, or a time (RFC 3339)."`
	Until        moment `help:"Only before then, in the same way."`
	Limit        int    `default:"100" help:"How many entries to show at most."`
}

// moment is a time, given as such or as how long ago it is.
type moment struct{ time.Time }

var errMoment = errors.New("neither how long ago, such as 24h, nor a time such as 2026-11-23T08:00:00Z")

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *moment) UnmarshalText(text []byte) error {
	if ago, err := time.ParseDuration(string(text)); err == nil && ago >= 0 {
		m.Time = time.Now().Add(-ago)
		return nil
	}
	at, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return errMoment
	}
	m.Time = at
	return nil
}

// timestamp is the moment as the API has it; nil if none was given.
func (m *moment) timestamp() *timestamppb.Timestamp {
	if m.IsZero() {
		return nil
	}
	return timestamppb.New(m.Time)
}

// Run shows who reads much more than usual, and then entries, the last first, page after page.
func (c *showAudit) Run(s *session) error {
	if c.Limit < 1 {
		return fmt.Errorf("%w: --limit must be at least 1", errUsage)
	}
	req := &messagingpb.ListAuditEntriesRequest{
		ConversationId: c.Conversation, AgentId: c.Agent, Since: c.Since.timestamp(), Until: c.Until.timestamp(),
	}
	var out *table
	for left := c.Limit; left > 0; {
		req.PageSize = int32(min(left, pageMost))
		resp, err := s.agents.ListAuditEntries(s.ctx, req)
		if err != nil {
			return err
		}
		if out == nil {
			if err := s.unusual(resp.GetUnusualReaders()); err != nil {
				return err
			}
			out = s.table("TIME", "ACTION", "BY", "ID", "CLIENT", "SERVICE", "TARGET", "CONVERSATION")
		}
		for _, e := range resp.GetEntries() {
			out.row(e, here(e.GetTime()), action(e.GetAction()), who(e), orDash(e.GetAgentId()), orDash(e.GetClient()), orDash(e.GetService()), orDash(e.GetTarget()), orDash(e.GetConversationId()))
		}
		left -= len(resp.GetEntries())
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	return out.end()
}

// unusual shows who reads much more than usual, if anybody does.
func (s *session) unusual(readers []*messagingpb.UnusualReader) error {
	if len(readers) == 0 {
		return nil
	}
	out := s.table("UNUSUAL READER", "ID", "IN 24 HOURS", "USUALLY A DAY")
	for _, r := range readers {
		out.row(r, orDash(r.GetAgent()), r.GetAgentId(), fmt.Sprint(r.GetReadings()), fmt.Sprint(r.GetUsual()))
	}
	if err := out.end(); err != nil || s.json {
		return err
	}
	_, err := fmt.Fprintln(s.out)
	return err
}

// who is by whom an entry is; the ids of members are in none.
func who(e *messagingpb.AuditEntry) string {
	if e.GetAgentId() == "" {
		return "(the member)"
	}
	return cmp.Or(e.GetAgent(), "-")
}

func action(a messagingpb.AuditEntry_Action) string {
	if a == messagingpb.AuditEntry_ACTION_UNSPECIFIED {
		return "-"
	}
	return strings.ReplaceAll(strings.ToLower(a.String()), "_", " ")
}

// here is a time of the place where the command runs.
func here(at *timestamppb.Timestamp) string {
	return at.AsTime().Local().Format("2006-01-02 15:04:05 MST")
}
