package messaging

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// lookUp reads an agent's view of a conversation, which the audit notes.
func (c caller) lookUp(t *testing.T, id string) {
	t.Helper()
	if _, err := c.agent.GetConversation(c.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: id}); err != nil {
		t.Fatal(err)
	}
}

// audit returns all that a filter gives, page by page: "who action of service".
func (c caller) audit(t *testing.T, req *messagingpb.ListAuditEntriesRequest) (told []string, entries []*messagingpb.AuditEntry) {
	t.Helper()
	for {
		resp, err := c.agent.ListAuditEntries(c.call(t), req)
		if err != nil {
			t.Fatal(err)
		}
		if most := int(req.GetPageSize()); most > 0 && len(resp.GetEntries()) > most {
			t.Errorf("a page of %d, want %d at most", len(resp.GetEntries()), most)
		}
		for _, entry := range resp.GetEntries() {
			entries = append(entries, entry)
			told = append(told, strings.TrimSpace(fmt.Sprintf("%s %s %s", strings.TrimPrefix(entry.GetAgentId(), "agent:"), entry.GetAction(), entry.GetService())))
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return told, entries
		}
	}
}

// auditAt writes n entries, all of one moment.
func (s *stage) auditAt(t *testing.T, caisse, agent, action string, conversation uuid.UUID, at time.Time, n int) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO audit (caisse, agent_id, agent_name, action, conversation_id, at)
		SELECT $1, $2, $2, $3, $4, $5 FROM generate_series(1, $6::int)`, caisse, agent, action, conversation, at, n); err != nil {
		t.Fatal(err)
	}
}

// A supervisor reads who did what in all queues of the caisse, and nothing of another's.
func TestAudit_List(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, nina := s.member(t, "jeanne"), s.member(t, "nina", map[string]any{"caisse": "msa-44"})
	id, far := jeanne.submit(t, health).GetId(), nina.submit(t).GetId()
	claire, crm := s.clerk(t, "claire", map[string]any{"client_id": "console"}), s.clerk(t, "karim", map[string]any{"azp": "bureau"})
	sofiane := s.supervisor(t, "sofiane", map[string]any{"queues": []string{"famille"}})
	abroad := s.supervisor(t, "loic", map[string]any{"caisse": "msa-44"})
	claire.lookUp(t, id)
	crm.lookUp(t, id)
	abroad.lookUp(t, far)
	claire.claim(t, id)
	if _, err := claire.transfer(t, id, "famille"); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	jeanne.erase(t)

	told, entries := sofiane.audit(t, &messagingpb.ListAuditEntriesRequest{})
	family, health := entries[0].GetService(), entries[2].GetService()
	if want := []string{"ERASE " + family, "claire TRANSFER " + entries[1].GetService(), "claire CLAIM " + health, "karim READ " + health, "claire READ " + health}; !slices.Equal(told, want) || health == family || health == "" {
		t.Errorf("got %q, want %q", told, want)
	}
	erased, transferred, read := entries[0], entries[1], entries[3]
	if erased.GetAgent()+erased.GetClient()+erased.GetTarget() != "" || erased.GetTime().AsTime().Before(before.Add(-time.Second)) || erased.GetConversationId() != id {
		t.Errorf("an erasure says %v", erased)
	}
	if transferred.GetClient() != "console" || transferred.GetAgent() != "claire Canari (agent)" {
		t.Errorf("a transfer says %v", transferred)
	}
	if read.GetClient() != "bureau" || read.GetConversationId() != id || read.GetAgentId() != "agent:karim" {
		t.Errorf("a reading says %v", read)
	}
	if told, _ := abroad.audit(t, &messagingpb.ListAuditEntriesRequest{}); len(told) != 1 || !strings.HasPrefix(told[0], "loic READ") {
		t.Errorf("the other caisse sees %q", told)
	}
	for name, req := range map[string]*messagingpb.ListAuditEntriesRequest{
		"its conversation": {ConversationId: id}, "its agent": {AgentId: "agent:claire"}, "both": {ConversationId: id, AgentId: "agent:claire"},
	} {
		if told, _ := abroad.audit(t, req); len(told) != 0 {
			t.Errorf("another caisse, by %s, sees %q", name, told)
		}
	}
	if _, err := claire.agent.ListAuditEntries(claire.call(t), &messagingpb.ListAuditEntriesRequest{}); err == nil {
		t.Error("an agent who is no supervisor reads the audit")
	}
	// Neither a look at the audit nor the erasure is anything that a timeline or an audit has.
	if n := s.count(t, `SELECT count(*) FROM audit`); n != 6 {
		t.Errorf("%d entries, want 6", n)
	}
}

// Each filter gives what it says, whatever the size of pages and however many entries are of
// one moment.
func TestAudit_Filters(t *testing.T) {
	t.Parallel()
	s := running(t)
	sofiane := s.supervisor(t, "sofiane")
	noon := time.Now().Truncate(time.Hour).Add(-2 * time.Hour)
	one, two, gone, foreign, old := uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.MustParse(s.member(t, "jeanne").submit(t).GetId())
	s.auditAt(t, "msa-75", "claire", "read", one, noon, 5)
	for _, seq := range []int{1_000_001, 1_000_000} { // which are not stored in their order
		if _, err := s.pool.Exec(t.Context(), `INSERT INTO audit (seq, caisse, agent_id, action, conversation_id, at) OVERRIDING SYSTEM VALUE
			VALUES ($1, 'msa-75', 'claire', 'read', $2, $3)`, seq, one, noon); err != nil {
			t.Fatal(err)
		}
	}
	s.auditAt(t, "msa-75", "karim", "find-number", uuid.Nil, noon.Add(time.Millisecond), 3)
	s.auditAt(t, "msa-75", "claire", "find-reference", two, noon.Add(-time.Hour), 2)
	s.auditAt(t, "msa-75", "claire", "note", one, noon.Add(time.Hour), 1)
	s.auditAt(t, "msa-44", "claire", "read", foreign, noon, 4)
	s.auditAt(t, "msa-44", "claire", "find-number", uuid.Nil, noon, 4)
	s.auditAt(t, "", "claire", "read", old, noon, 2)  // of an earlier binary
	s.auditAt(t, "", "claire", "read", gone, noon, 2) // whose conversation is deleted
	for name, row := range map[string]struct {
		req  *messagingpb.ListAuditEntriesRequest
		want int
	}{
		"all":                              {&messagingpb.ListAuditEntriesRequest{}, 13},
		"an agent":                         {&messagingpb.ListAuditEntriesRequest{AgentId: "claire"}, 10},
		"nobody":                           {&messagingpb.ListAuditEntriesRequest{AgentId: "personne"}, 0},
		"a conversation that was deleted":  {&messagingpb.ListAuditEntriesRequest{ConversationId: one.String()}, 8},
		"and an agent":                     {&messagingpb.ListAuditEntriesRequest{ConversationId: one.String(), AgentId: "claire"}, 8},
		"and another":                      {&messagingpb.ListAuditEntriesRequest{ConversationId: one.String(), AgentId: "karim"}, 0},
		"since":                            {&messagingpb.ListAuditEntriesRequest{Since: timestamppb.New(noon)}, 11},
		"until":                            {&messagingpb.ListAuditEntriesRequest{Until: timestamppb.New(noon)}, 2},
		"between":                          {&messagingpb.ListAuditEntriesRequest{Since: timestamppb.New(noon), Until: timestamppb.New(noon.Add(time.Minute))}, 10},
		"of a conversation":                {&messagingpb.ListAuditEntriesRequest{ConversationId: one.String(), Until: timestamppb.New(noon.Add(time.Minute))}, 7},
		"of an agent":                      {&messagingpb.ListAuditEntriesRequest{AgentId: "karim", Since: timestamppb.New(noon.Add(time.Second))}, 0},
		"another caisse's":                 {&messagingpb.ListAuditEntriesRequest{ConversationId: foreign.String()}, 0},
		"an earlier binary's":              {&messagingpb.ListAuditEntriesRequest{ConversationId: old.String()}, 2},
		"of whose fund nothing is known":   {&messagingpb.ListAuditEntriesRequest{ConversationId: gone.String()}, 0},
		"searches that found nothing":      {&messagingpb.ListAuditEntriesRequest{ConversationId: uuid.Nil.String()}, 0},
		"a conversation that there is not": {&messagingpb.ListAuditEntriesRequest{ConversationId: uuid.NewString()}, 0},
	} {
		var whole []string
		for _, size := range []int32{0, 1, 3, 100} {
			row.req.PageSize, row.req.PageToken = size, ""
			told, entries := sofiane.audit(t, row.req)
			if len(told) != row.want {
				t.Errorf("%s: %d entries by pages of %d, want %d: %q", name, len(told), size, row.want, told)
			}
			if !slices.IsSortedFunc(entries, func(a, b *messagingpb.AuditEntry) int { return b.GetTime().AsTime().Compare(a.GetTime().AsTime()) }) {
				t.Errorf("%s: not the last first", name)
			}
			if whole == nil {
				whole = told
			}
			if !slices.Equal(told, whole) {
				t.Errorf("%s: by pages of %d %q, else %q", name, size, told, whole)
			}
		}
	}
	if _, entries := sofiane.audit(t, &messagingpb.ListAuditEntriesRequest{AgentId: "karim"}); entries[0].GetConversationId() != "" {
		t.Errorf("a search that found nothing names a conversation: %v", entries[0])
	}
}

func TestAudit_Refusals(t *testing.T) {
	t.Parallel()
	s := running(t)
	sofiane := s.supervisor(t, "sofiane")
	noon := time.Now()
	s.auditAt(t, "msa-75", "claire", "read", uuid.New(), noon, 2)
	first, err := sofiane.agent.ListAuditEntries(sofiane.call(t), &messagingpb.ListAuditEntriesRequest{PageSize: 1})
	if err != nil || first.GetNextPageToken() == "" {
		t.Fatal(first, err)
	}
	at := timestamppb.New(noon)
	for _, row := range []struct {
		req           *messagingpb.ListAuditEntriesRequest
		reason, field string
	}{
		{&messagingpb.ListAuditEntriesRequest{Since: at, Until: at}, "FILTERS_CONTRADICTORY", "until"},
		{&messagingpb.ListAuditEntriesRequest{Since: at, Until: timestamppb.New(noon.Add(-time.Nanosecond))}, "FILTERS_CONTRADICTORY", "until"},
		{&messagingpb.ListAuditEntriesRequest{AgentId: "claire", PageToken: first.GetNextPageToken()}, "PAGE_TOKEN_INVALID", "pageToken"},
		{&messagingpb.ListAuditEntriesRequest{ConversationId: "x"}, "UUID_INVALID", "conversationId"},
	} {
		_, err := sofiane.agent.ListAuditEntries(sofiane.call(t), row.req)
		refused(t, err, codes.InvalidArgument, row.reason, row.field)
	}
	// All faults at once.
	_, err = sofiane.agent.ListAuditEntries(sofiane.call(t), &messagingpb.ListAuditEntriesRequest{PageSize: -1, Since: at, Until: at})
	if got := faultsOf(err); !slices.Contains(got, "pageSize OUT_OF_RANGE") || !slices.Contains(got, "until FILTERS_CONTRADICTORY") {
		t.Errorf("got %v", got)
	}
	other := s.supervisor(t, "other")
	_, err = other.agent.ListAuditEntries(other.call(t), &messagingpb.ListAuditEntriesRequest{PageToken: first.GetNextPageToken()})
	refused(t, err, codes.InvalidArgument, "PAGE_TOKEN_INVALID", "pageToken")
}

// With each page supervisors get who of their caisse reads much more than usual.
func TestAudit_UnusualReaders(t *testing.T) {
	t.Parallel()
	s := running(t)
	for _, caisse := range []string{"msa-75", "msa-44"} {
		if _, err := s.pool.Exec(t.Context(), `INSERT INTO unusual_reader VALUES ($1, 'claire', 'Claire', 60, 10, true, now()), ($1, 'karim', 'Karim', 9, 9, false, now())`, caisse); err != nil {
			t.Fatal(err)
		}
	}
	sofiane := s.supervisor(t, "sofiane", map[string]any{"queues": []string{}})
	resp, err := sofiane.agent.ListAuditEntries(sofiane.call(t), &messagingpb.ListAuditEntriesRequest{AgentId: "karim"})
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetUnusualReaders(); len(got) != 1 || got[0].GetAgentId() != "claire" || got[0].GetAgent() != "Claire" || got[0].GetReadings() != 60 || got[0].GetUsual() != 10 {
		t.Errorf("got %v", got)
	}
	if figures := measured(); !strings.Contains(figures, "messagerie.unusual.readers") {
		t.Error("no figure counts them")
	}
}

// An export says which services have read a conversation, how often and when; nothing else does.
func TestExport_SaysWhoHasRead(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire", map[string]any{"roles": []string{auth.RoleAgent}})
	read, unread := jeanne.submit(t, health).GetId(), jeanne.submit(t).GetId()
	for range 3 {
		claire.lookUp(t, read)
	}
	claire.claim(t, read) // no reading
	if _, err := claire.transfer(t, read, "famille"); err != nil {
		t.Fatal(err)
	}
	claire.lookUp(t, read)
	s.auditAt(t, "", "claire", "read", uuid.MustParse(read), time.Now(), 1) // of an earlier binary

	stream, err := jeanne.messaging.ExportMyData(jeanne.call(t), &messagingpb.ExportMyDataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]*messagingpb.Reading)
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if c := piece.GetConversation(); c != nil {
			found[c.GetId()] = c.GetReadings()
		}
	}
	list, ok := found[unread]
	if len(list) != 0 || !ok {
		t.Errorf("nobody has read it, got %v", list)
	}
	list = found[read]
	if len(list) != 2 || list[0].GetTimes() != 3 || list[1].GetTimes() != 2 || list[0].GetService() == list[1].GetService() || list[0].GetService() == "" {
		t.Fatalf("got %v", list)
	}
	first, last := list[0].GetFirstTime().AsTime(), list[0].GetLastTime().AsTime()
	if !first.Before(last) || !last.Before(list[1].GetFirstTime().AsTime()) {
		t.Errorf("read from %s to %s, then %v", first, last, list[1])
	}
	if got := jeanne.see(t, read).GetReadings(); len(got) != 0 {
		t.Errorf("a conversation itself says %v", got)
	}
}
