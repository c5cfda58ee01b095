package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// agents is messaging as agents reach it: its audit has as many entries as there are dead
// letters.
type agents struct {
	messagingpb.UnimplementedAgentServiceServer
	gateway *gateway
}

func (a agents) ListAuditEntries(_ context.Context, req *messagingpb.ListAuditEntriesRequest) (*messagingpb.ListAuditEntriesResponse, error) {
	var from int
	if _, err := fmt.Sscan(req.GetPageToken(), &from); err != nil {
		from = 0
	}
	resp := &messagingpb.ListAuditEntriesResponse{}
	if !a.gateway.calm {
		resp.UnusualReaders = []*messagingpb.UnusualReader{{AgentId: "agent:karim", Agent: "Karim", Readings: 80, Usual: 9}}
	}
	for i := from; i < min(a.gateway.letters, from+int(req.GetPageSize())); i++ {
		entry := &messagingpb.AuditEntry{
			Time: ended, Action: messagingpb.AuditEntry_FIND_BY_NUMBER, AgentId: "agent:claire", Agent: "Claire", Client: "console", Service: "Santé", ConversationId: "c",
		}
		switch i {
		case 1:
			entry = &messagingpb.AuditEntry{Time: ended, Action: messagingpb.AuditEntry_ERASE, Service: "Santé", ConversationId: "c"}
		case 2:
			entry = &messagingpb.AuditEntry{Time: ended, AgentId: "agent:omar", Target: "famille"}
		}
		resp.Entries = append(resp.Entries, entry)
	}
	if next := from + int(req.GetPageSize()); next < a.gateway.letters {
		resp.NextPageToken = fmt.Sprint(next)
	}
	return resp, nil
}

// Times are those of the place, and who reads much more than usual comes first.
func TestAudit(t *testing.T) {
	t.Parallel()
	at := here(ended)
	space := strings.Repeat(" ", len(at))
	entries := "TIME" + space[4:] + `  ACTION          BY            ID            CLIENT   SERVICE  TARGET   CONVERSATION
` + at + `  find by number  Claire        agent:claire  console  Santé    -        c
` + at + `  erase           (the member)  -             -        Santé    -        c
` + at + `  -               -             agent:omar    -        -        famille  -
`
	const readers = `UNUSUAL READER  ID           IN 24 HOURS  USUALLY A DAY
Karim           agent:karim  80           9

`
	if !strings.HasPrefix(at, ended.AsTime().Local().Format("2006-01-02 15:04:05 ")) {
		t.Errorf("the time is %s", at)
	}
	for want, calm := range map[string]bool{readers + entries: false, entries: true} {
		g := serve(t)
		g.calm = calm
		exit, out, errs := g.command(t, "audit")
		if diff := cmp.Diff(want, out); diff != "" || exit != 0 || errs != "" {
			t.Errorf("exit %d, %s%s", exit, errs, diff)
		}
	}
	exit, out, _ := serve(t).command(t, "--json", "audit")
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(out, " ", "")), "\n")
	if exit != 0 || len(lines) != 4 || !strings.Contains(lines[0], `"readings":80`) || !strings.Contains(lines[1], `"action":"FIND_BY_NUMBER"`) {
		t.Errorf("exit %d: %s", exit, out)
	}
}

func TestAudit_Requests(t *testing.T) {
	t.Parallel()
	since := timestamppb.New(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	for args, want := range map[string]*messagingpb.ListAuditEntriesRequest{
		"audit":                                   {PageSize: 100},
		"audit --conversation=c --limit=7":        {ConversationId: "c", PageSize: 7},
		"audit --agent=agent:claire":              {AgentId: "agent:claire", PageSize: 100},
		"audit --since=2026-11-01T01:00:00+01:00": {Since: since, PageSize: 100},
		"audit --until=2026-11-01T00:00:00Z":      {Until: since, PageSize: 100},
	} {
		g := serve(t)
		if exit, _, errs := g.command(t, strings.Fields(args)...); exit != 0 {
			t.Errorf("%s: exit %d, %s", args, exit, errs)
			continue
		}
		if diff := cmp.Diff(want, g.asked[0], protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", args, diff)
		}
	}
	// How long ago is counted from now.
	g, begun := serve(t), time.Now()
	exit, _, errs := g.command(t, "audit", "--since=24h", "--until=90m")
	req, ok := g.asked[0].(*messagingpb.ListAuditEntriesRequest)
	if exit != 0 || !ok {
		t.Fatal(exit, errs)
	}
	for got, ago := range map[*timestamppb.Timestamp]time.Duration{req.GetSince(): 24 * time.Hour, req.GetUntil(): 90 * time.Minute} {
		if at := got.AsTime(); at.Before(begun.Add(-ago)) || at.After(time.Now().Add(-ago)) {
			t.Errorf("%s ago is %s", ago, at)
		}
	}
	for args, want := range map[string]string{
		"audit --limit=0": "--limit", "audit --since=yesterday": "--since", "audit --since=-1h": "--since", "audit --until=2026-11-01": "2026-11-23T08:00:00Z", "audit c": "c",
	} {
		g := serve(t)
		if exit, out, errs := g.command(t, strings.Fields(args)...); exit != exitUsage || out != "" || !strings.Contains(errs, want) || len(g.asked) > 0 {
			t.Errorf("%s: exit %d, %q, want a word about %q", args, exit, errs, want)
		}
	}
}

func TestAudit_Paging(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ entries, limit, calls, listed int }{
		{0, 100, 1, 0}, {250, 100, 1, 100}, {250, 101, 2, 101}, {250, 300, 3, 250}, {5, 1, 1, 1},
	} {
		g := serve(t)
		g.letters, g.calm = row.entries, true
		exit, out, errs := g.command(t, "audit", fmt.Sprint("--limit=", row.limit))
		if listed := strings.Count(out, "\n") - 1; exit != 0 || len(g.asked) != row.calls || listed != row.listed {
			t.Errorf("%+v: exit %d, %d calls, %d listed %s", row, exit, len(g.asked), listed, errs)
		}
	}
}
