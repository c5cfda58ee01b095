package web

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	w := b.get("/agent/audit?conversation=" + conversationID + "&agent=agents:sofiane&depuis=2026-11-01&jusque=2026-11-23&suite=xyz")
	got, _ := one[*messagingpb.ListAuditEntriesRequest](t, f.gateway, "AgentService/ListAuditEntries")
	want := &messagingpb.ListAuditEntriesRequest{
		ConversationId: conversationID, AgentId: "agents:sofiane", PageToken: "xyz",
		Since: timestamppb.New(time.Date(2026, time.October, 31, 23, 0, 0, 0, time.UTC)), Until: timestamppb.New(time.Date(2026, time.November, 23, 23, 0, 0, 0, time.UTC)),
	}
	if !proto.Equal(got, want) {
		t.Errorf("asked for %v", got)
	}
	b.shows(w, http.StatusOK, "a lu la conversation", "a transféré à Service retraite", "L’adhérent", "a effacé ses données", "Sofiane Amrani : 412, pour 40 d’habitude par jour")
	page := html.UnescapeString(w.Body.String())
	for _, want := range []string{
		`href="/agent/audit?` + url.Values{"conversation": {conversationID}, "agent": {"agents:sofiane"}, "depuis": {"2026-11-01"}, "jusque": {"2026-11-23"}, "suite": {"suite-4"}}.Encode() + `"`,
		`<option dir="auto" value="agents:sofiane" selected>Sofiane Amrani`, `href="/agent/conversations/` + conversationID,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not on the page: %s", want, page)
		}
	}
	// Without names it is worth reading too.
	f.on("AgentService/ListAgents", refuses(status.Error(codes.Unavailable, "")))
	f.on("AgentService/ListQueues", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.get("/agent/audit"), http.StatusOK, "a transféré à retraite")
	f.on("AgentService/ListAuditEntries", answers(&messagingpb.ListAuditEntriesResponse{}))
	w = b.get("/agent/audit")
	b.shows(w, http.StatusOK, "Aucune entrée ne correspond")
	if strings.Contains(text(w), "inhabituelles") {
		t.Error("there is a warning without a reason")
	}
}

// A conversation is named by its reference too; what is typed into the field is in no
// address before it is known to be one.
func TestAudit_Filter(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	b.led(b.post("/agent/audit", url.Values{"conversation": {reference}, "agent": {"agents:sofiane"}, "autre": {" crm "}}), "/agent/audit?agent=crm&conversation="+conversationID)
	f.on("AgentService/FindConversations", answers(&messagingpb.FindConversationsResponse{}))
	b.shows(b.post("/agent/audit", url.Values{"conversation": {reference}}), http.StatusUnprocessableEntity, "Aucune conversation n’a cette référence.")
	f.on("AgentService/FindConversations", refuses(refused(codes.InvalidArgument, "REFERENCE_INVALID", nil, "reference")))
	w := b.post("/agent/audit", url.Values{"conversation": {memberNumber}})
	if b.shows(w, http.StatusUnprocessableEntity, "Aucune conversation n’a cette référence."); w.Header().Get("Location") != "" {
		t.Error("a number is in an address")
	}
	f.calls()
	b.shows(b.get("/agent/audit?depuis=hier&jusque=2026-02-30"), http.StatusUnprocessableEntity, "Donnez une date", "Qui a lu")
	if calls := strings.Join(f.names(), " "); strings.Contains(calls, "ListAuditEntries") {
		t.Error("entries are asked for without the days")
	}
	f.on("AgentService/ListAuditEntries", refuses(refused(codes.InvalidArgument, "FILTERS_CONTRADICTORY", nil, "until")))
	b.shows(b.get("/agent/audit?depuis=2026-11-23&jusque=2026-11-01"), http.StatusUnprocessableEntity, "avant son début")
	f.on("AgentService/ListAuditEntries", refuses(refused(codes.PermissionDenied, "ACCESS_DENIED", nil)))
	b.shows(f.browse(t, sofiane).get("/agent/audit"), http.StatusForbidden, "n’avez pas accès")
}
