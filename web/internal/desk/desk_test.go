package desk

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// A list's address is all about it; what no list has is left out.
func TestFilter(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		query string
		want  Filter
		path  string
	}{
		{"", Filter{}, "/agent"},
		{"file=famille&etat=closes&mains=personne&ordre=modifiees", Filter{Queue: "famille", State: "closes", Hands: Nobodys, Order: Changed}, "/agent?etat=closes&file=famille&mains=personne&ordre=modifiees"},
		{"theme=a%26b&motif=x%2Fy&profil=EMPLOYEUR", Filter{Theme: "a&b", Reason: "x/y", Audience: taxonomypb.Audience_EMPLOYEUR}, "/agent?motif=x%2Fy&profil=EMPLOYEUR&theme=a%26b"},
		{"etat=autre&mains=autres&ordre=autre&profil=AUDIENCE_UNSPECIFIED&motif=x", Filter{}, "/agent"},
	} {
		query, err := url.ParseQuery(row.query)
		if err != nil {
			t.Fatal(err)
		}
		got := FilterOf(query)
		if got != row.want || got.Path() != row.path {
			t.Errorf("%s: %+v at %s", row.query, got, got.Path())
		}
		at, err := url.Parse(got.Path())
		if err != nil || FilterOf(at.Query()) != got {
			t.Errorf("%s does not lead to itself", got.Path())
		}
		if next, err := url.Parse(got.Page("a&b=")); err != nil || next.Query().Get("suite") != "a&b=" || FilterOf(next.Query()) != got {
			t.Errorf("the next page of %s is %s", got.Path(), got.Page("a&b="))
		}
	}
}

func TestFilter_Request(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]*messagingpb.AgentServiceListConversationsRequest{
		"":                     {},
		"mains=moi":            {Mine: true},
		"mains=personne":       {Unassigned: true},
		"ordre=recentes":       {OrderBy: "newest"},
		"ordre=modifiees":      {OrderBy: "changed"},
		"theme=a&motif=x":      {Theme: "a", Topic: "x"},
		"theme=a&motif=x%2Fy":  {Theme: "a", Topic: "x", Reason: "y"},
		"etat=repondues":       {Status: []messagingpb.Status{messagingpb.Status_ANSWERED}},
		"profil=EXPLOITANT":    {Audience: taxonomypb.Audience_EXPLOITANT},
		"etat=toutes&file=abc": {Queue: "abc", Status: []messagingpb.Status{1, 4, 2, 3, 5, 6, 7}},
	} {
		given, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got := FilterOf(given).Request("")
		if query == "etat=toutes&file=abc" {
			seen := make(map[messagingpb.Status]bool)
			for _, status := range got.GetStatus() {
				seen[status] = true
			}
			if len(seen) != len(messagingpb.Status_name)-1 || seen[0] || len(got.GetStatus()) != len(seen) {
				t.Errorf("all is %v", got.GetStatus())
			}
			continue
		}
		if got.String() != want.String() {
			t.Errorf("%s asks for %v", query, got)
		}
	}
}

// Of the usual lists one is that which is shown, unless it is none of them.
func TestFilter_Views(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{"": "waiting", "mains=moi": "mine", "mains=personne": "unassigned", "etat=toutes&ordre=modifiees": "all", "etat=closes": "", "file=famille": "waiting"} {
		given, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		var here []string
		for _, view := range FilterOf(given).Views() {
			if view.Here {
				here = append(here, view.Name)
			}
			if strings.Contains(view.Path, "famille") != (query == "file=famille") {
				t.Errorf("%s: the view %s is %s", query, view.Name, view.Path)
			}
		}
		if strings.Join(here, " ") != want {
			t.Errorf("%s is the view %v", query, here)
		}
	}
}

func TestSearchOf(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ quoted, sense, as, other string }{
		{"MSA-7K3D92QX", "", AsReference, ""},
		{"msa 7k3d 92qx", "", AsReference, ""},
		{"MSA-7K3D", "", AsReference, ""},
		{"MSA-7K3D92QX", AsNumber, AsReference, ""},
		{"7K3D92QX", "", AsReference, AsNumber},
		{"7k3d-92qx", "", AsReference, AsNumber},
		{"23456789", "", AsReference, AsNumber},
		{"23456789", AsNumber, AsNumber, AsReference},
		{"7K3D920X", "", AsNumber, AsReference}, // a 0 is in no reference
		{"7K3D920X", AsReference, AsReference, AsNumber},
		{"2345678", "", AsNumber, ""},
		{"234567892", "", AsNumber, ""},
		{"1 84 05 29 019 042 17", "", AsNumber, ""},
		{"1 84 05 29 019 042 17", AsReference, AsNumber, ""},
		{"", "", AsNumber, ""},
	} {
		got := SearchOf(url.Values{"q": {" " + row.quoted + " "}, "sens": {row.sense}})
		if got.Quoted != row.quoted || got.As != row.as || got.Other != row.other || got.Empty() != (row.quoted == "") {
			t.Errorf("%+v: %+v", row, got)
		}
		req := got.Request()
		if want := map[string]string{AsReference: req.GetReference(), AsNumber: req.GetMemberNumber()}[row.as]; want != row.quoted || req.GetReference() != "" && req.GetMemberNumber() != "" {
			t.Errorf("%+v asks for %v", row, req)
		}
	}
	both := SearchOf(url.Values{"q": {"MSA-7K3D92QX"}, "conversation": {"c"}}).Request()
	if both.GetConversationId() != "c" || both.GetReference() != "" || both.GetMemberNumber() != "" {
		t.Errorf("asks for %v", both)
	}
}

func TestTypedOf(t *testing.T) {
	t.Parallel()
	key := uuid.NewString()
	got := TypedOf(Reply, url.Values{"cle": {key}, "dernier": {"no id"}, "retour": {"/agent?etat=closes"}, "choix": {"a"}})
	if got.Key != key || got.Last != "" || got.Back != "/agent?etat=closes" || !reflect.DeepEqual(got.Selection, []string{"a", "", ""}) {
		t.Errorf("%+v", got)
	}
	if got := TypedOf(Reply, url.Values{"cle": {"no key"}, "retour": {"https://example.org"}}); uuid.Validate(got.Key) != nil || got.Back != Queue {
		t.Errorf("%+v", got)
	}
	for act, want := range map[string]string{Transfer: "/agent?etat=closes", Release: "/agent?etat=closes", Reply: "/agent/conversations/c%2F?retour=%2Fagent%3Fetat%3Dcloses"} {
		if got := (Typed{Act: act, Back: "/agent?etat=closes"}).After("c/"); got != want {
			t.Errorf("%s leads to %s", act, got)
		}
	}
}

func messages(ids ...string) []*messagingpb.Message {
	var list []*messagingpb.Message
	for _, id := range ids {
		list = append(list, &messagingpb.Message{Id: id})
	}
	return list
}

// New is what has come after the last message of the page: all, where it is none of them.
func TestAgain(t *testing.T) {
	t.Parallel()
	for last, want := range map[string][]string{"c": nil, "b": {"c"}, "a": {"b", "c"}, "": {"a", "b", "c"}, "x": {"a", "b", "c"}} {
		page := Again(&messagingpb.Conversation{Messages: messages("a", "b", "c")}, false, Typed{Last: last})
		if len(page.New) != len(want) {
			t.Errorf("after %q, %v are new", last, page.New)
		}
		for _, id := range want {
			if !page.New[id] {
				t.Errorf("after %q, %s is not new", last, id)
			}
		}
		if newest := page.Newest(); (newest == nil) != (want == nil) || newest != nil && newest.GetId() != "c" {
			t.Errorf("after %q, %v is the newest", last, newest)
		}
	}
}

// A refused act gets a new key and says what is on the new page; one that may have been
// done is repeated as it was.
func TestPage_Refused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		reason                 string
		unknown                bool
		sameKey, same, another bool
	}{
		{"CONVERSATION_CHANGED", false, false, false, false},
		{"LAST_MESSAGE_REQUIRED", false, false, false, false},
		{"ALREADY_ANSWERED", false, false, false, true},
		{"IDEMPOTENCY_KEY_REUSED", false, false, false, false},
		{"CLAIM_HELD", false, true, false, false},
		{"BODY_TOO_LONG", false, true, false, false},
		{"STORE_UNAVAILABLE", true, true, true, false},
	} {
		for _, act := range []string{Reply, Close, Transfer, Note, Claim} {
			page := Again(&messagingpb.Conversation{LastMessageId: "b", Messages: messages("a", "b")}, false, Typed{Act: act, Key: "key", Last: "a", Text: "Bonjour"})
			page.Refused(row.reason, row.unknown)
			if got := page.Typed.Key; (got == "key") != row.sameKey {
				t.Errorf("%s, %s: under %q", act, row.reason, got)
			}
			// What names no message is not repeated as to one.
			if got, names := page.Last(), act != Note && act != Claim; got != map[bool]string{true: "a", false: "b"}[row.same && names] {
				t.Errorf("%s, %s: as to %q", act, row.reason, got)
			}
		}
		page := Again(&messagingpb.Conversation{}, false, Typed{Act: Reply})
		page.Refused(row.reason, row.unknown)
		if page.Another() != row.another {
			t.Errorf("%s: it is one more: %t", row.reason, page.Another())
		}
	}
	// One that was additional and may have been sent is repeated as one.
	page := Again(&messagingpb.Conversation{}, false, Typed{Act: Reply, Additional: true})
	if page.Another() {
		t.Error("a first answer is one more")
	}
	page.Refused("", true)
	if !page.Another() {
		t.Error("it is repeated as a first answer")
	}
}

// What was typed is shown, also where it may not be sent any more.
func TestPage_Has(t *testing.T) {
	t.Parallel()
	over := &messagingpb.Conversation{Status: messagingpb.Status_CLOSED, Erased: true, Claim: &messagingpb.ClaimInfo{}}
	for text, want := range map[string]bool{"Bonjour": true, "": false, " \n": false} {
		if page := Again(over, true, Typed{Text: text}); page.HasReply() != want || page.HasNote() {
			t.Errorf("a reply of %q is shown: %t; a note too: %t", text, !want, page.HasNote())
		}
		if page := Again(over, true, Typed{Note: text}); page.HasNote() != want || page.HasReply() {
			t.Errorf("a note of %q is shown: %t; a reply too: %t", text, !want, page.HasReply())
		}
	}
	if page := Opened(&messagingpb.Conversation{}, false, ""); !page.HasReply() || !page.HasNote() || page.Unfolded() {
		t.Error("nothing can be written")
	}
}

// An act takes one text along, and leaves the other.
func TestTyped_Left(t *testing.T) {
	t.Parallel()
	for act, want := range map[string][2]string{
		Reply: {"", "note"}, Note: {"reply", ""}, Transfer: {"reply", ""}, Assign: {"reply", ""}, TakeOver: {"reply", ""},
		Claim: {"reply", "note"}, Release: {"reply", "note"}, Recategorise: {"reply", "note"}, Reopen: {"reply", "note"}, Close: {"reply", "note"},
	} {
		typed := Typed{Act: act, Text: "reply", Note: "note"}
		if text, note := typed.Left(); text != want[0] || note != want[1] {
			t.Errorf("%s leaves %q and %q", act, text, note)
		}
		if !typed.Writes() || (Typed{Act: act}).Writes() != (act != Claim && act != Release && act != Recategorise && act != Reopen) {
			t.Errorf("%s: %t", act, (Typed{Act: act}).Writes())
		}
	}
	if text, note := (Typed{Act: Close, Explained: true, Text: "reply", Note: "note"}).Left(); text != "" || note != "note" {
		t.Errorf("closing with a sentence leaves %q and %q", text, note)
	}
}

// What was begun is in its field, unless it was sent since.
func TestPage_Begun(t *testing.T) {
	t.Parallel()
	at := func(seconds int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: seconds} }
	c := &messagingpb.Conversation{
		Messages: []*messagingpb.Message{
			{Author: messagingpb.Author_AGENT, Text: "Premier", CreateTime: at(1)},
			{Author: messagingpb.Author_MEMBER, Text: "Merci", CreateTime: at(3)},
			{Author: messagingpb.Author_AGENT, Text: "Second\nbis", CreateTime: at(3)},
		},
		Notes: []*messagingpb.Note{{Text: "À rappeler", CreateTime: at(2)}, {Text: "Vu", CreateTime: at(1)}},
	}
	for _, row := range []struct{ text, note, wantText, wantNote string }{
		{"Bonjour", "Vu", "Bonjour", "Vu"}, {"Second\r\nbis ", "À rappeler\n", "", ""}, {"Premier", "Autre", "Premier", "Autre"}, {"Merci", "", "Merci", ""},
	} {
		page := Opened(c, false, "")
		page.Begun(&messagingpb.AgentDraft{Text: row.text, Note: row.note, UpdateTime: at(2)}, "tag")
		if page.Typed.Text != row.wantText || page.Typed.Note != row.wantNote || page.Typed.Tag != "tag" {
			t.Errorf("%+v: %q, %q", row, page.Typed.Text, page.Typed.Note)
		}
	}
	page := Opened(c, false, "")
	if page.Begun(nil, ""); page.Typed.Text != "" || page.Typed.Note != "" {
		t.Error("something was begun without a draft")
	}
}

// What has ended can be taken back, unless its texts are gone.
func TestPage_MayReopen(t *testing.T) {
	t.Parallel()
	for number := range messagingpb.Status_name {
		status := messagingpb.Status(number)
		ended := status == messagingpb.Status_CLOSED || status == messagingpb.Status_ANSWERED
		if got := Opened(&messagingpb.Conversation{Status: status}, false, "").MayReopen(); got != ended {
			t.Errorf("%s: %t", status, got)
		}
		if Opened(&messagingpb.Conversation{Status: status, Erased: true}, true, "").MayReopen() {
			t.Errorf("%s and erased is reopened", status)
		}
	}
}

// Every action has its words, in both languages.
func TestDoing(t *testing.T) {
	t.Parallel()
	for _, lang := range render.Languages {
		said := make(map[string]bool)
		for number, name := range messagingpb.AuditEntry_Action_name {
			got := string(Doing(&render.Pages{Lang: lang}, &messagingpb.AuditEntry{Action: messagingpb.AuditEntry_Action(number), Target: "retraite"}, map[string]string{"retraite": "Service retraite"}))
			if said[got] || (got == name) != (number == 0) || strings.Contains(got, "%!") || strings.Contains(got, "retraite") && !strings.Contains(got, "Service retraite") {
				t.Errorf("%s: %q", name, got)
			}
			said[got] = true
		}
		// From whom a conversation was taken over may be unknown.
		if got := Doing(&render.Pages{Lang: lang}, &messagingpb.AuditEntry{Action: messagingpb.AuditEntry_TAKE_OVER}, nil); strings.HasSuffix(string(got), " ") {
			t.Errorf("taken over from nobody: %q", got)
		}
	}
}

// A day is that of Paris, and the last is included.
func TestAuditFilter(t *testing.T) {
	t.Parallel()
	given := url.Values{"conversation": {" c "}, "agent": {"a"}, "depuis": {"2026-03-29"}, "jusque": {"2026-03-29"}}
	f := AuditFilterOf(given)
	if want := (AuditFilter{"c", "a", "2026-03-29", "2026-03-29"}); f != want {
		t.Errorf("%+v", f)
	}
	req, wrong := f.Request("x")
	if hours := req.GetUntil().AsTime().Sub(req.GetSince().AsTime()).Hours(); hours != 23 || wrong != nil || req.GetPageToken() != "x" { // the clocks go forward
		t.Errorf("%v hours, %v wrong", hours, wrong)
	}
	if at, err := url.Parse(f.Page("x")); err != nil || AuditFilterOf(at.Query()) != f || at.Query().Get("suite") != "x" {
		t.Errorf("%s does not lead to itself", f.Page("x"))
	}
	given.Set("autre", "crm")
	given.Set("depuis", "hier")
	given.Set("jusque", "0000-01-01")
	f = AuditFilterOf(given)
	if req, wrong := f.Request(""); f.Agent != "crm" || !reflect.DeepEqual(wrong, []string{"since", "until"}) || req.GetSince() != nil || req.GetUntil() != nil {
		t.Errorf("%+v asks for %v, wrong %v", f, req, wrong)
	}
}
