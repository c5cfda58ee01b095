package web

import (
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// What a member has begun to write further is in its field again, also in a conversation that
// was closed meanwhile, until it is sent.
func TestFollowUp_Draft(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at, id := "/messagerie/conversations/"+conversationID, conversationID
	for tag, condition := range map[string][2]string{`"t1"`: {"if-match", `"t1"`}, "": {"if-none-match", "*"}} {
		if w := b.post(at+"/enregistrer", url.Values{"texte": {written}, "etag": {tag}}); w.Code != http.StatusNoContent {
			t.Errorf("saved with %q: %d", tag, w.Code)
		}
		saved, header := one[*messagingpb.SaveDraftRequest](t, f.gateway, "MessagingService/SaveDraft")
		if saved.GetId() != id || saved.GetConversationId() != id || saved.GetText() != written || saved.GetAudience() != 0 || header.Get(condition[0])[0] != condition[1] {
			t.Errorf("with %q: %v, %v", tag, saved, header)
		}
	}
	if w := b.get(at); !has(w, []string{">\n" + written + "</textarea>"}) {
		t.Errorf("it is not in the field: %s", text(w))
	}
	// In the list of drafts it leads to its conversation.
	f.on("MessagingService/ListDrafts", answers(&messagingpb.ListDraftsResponse{Drafts: []*messagingpb.Draft{{Id: id, ConversationId: id, Text: written, UpdateTime: timestamppb.New(sent)}}}))
	if w := b.get("/messagerie"); strings.Contains(w.Body.String(), "/brouillons/"+id+"/recapitulatif") || !strings.Contains(w.Body.String(), `href="`+at+`#text"`) {
		t.Error("it is among the drafts of new messages")
	}
	// What was sent, whatever the answer was, is not offered again.
	first := sampleConversation().GetMessages()[0].GetText()
	said := sampleConversation().GetMessages()[0].GetCreateTime().AsTime()
	for saved, offered := range map[time.Time]bool{said: false, said.Add(-time.Minute): false, said.Add(time.Second): true} {
		f.keep(&messagingpb.Draft{Id: id, Text: "\r\n" + first, UpdateTime: timestamppb.New(saved)})
		if w := b.get(at); !has(w, []string{"data-autosave"}) || has(w, []string{first + "</textarea>"}) != offered {
			t.Errorf("saved %s, sent %s: %s", saved, said, text(w))
		}
	}
	f.keep(&messagingpb.Draft{Id: id, Text: written})
	closed := sampleConversation()
	closed.Status = messagingpb.Status_CLOSED
	well := f.scripts["MessagingService/GetConversation"]
	f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: closed}))
	b.shows(b.get(at), http.StatusOK, "Cette conversation est close.", written)
	f.on("MessagingService/GetConversation", well)
	// The page of the field goes on without the draft.
	f.on("MessagingService/GetDraft", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.get(at), http.StatusOK, "Ajouter un message")
	f.calls()
	b.post(at+"/suite", url.Values{"cle": {otherID}, "texte": {written}, "etag": {`"seen"`}})
	if gone, header := one[*messagingpb.DeleteDraftRequest](t, f.gateway, "MessagingService/DeleteDraft"); gone.GetId() != id || strings.Join(header.Get("if-match"), "") != `"seen"` {
		t.Errorf("deleted %v, %v", gone, header)
	}
	// What another tab has saved, of which this one has seen nothing, stays.
	b.post(at+"/suite", url.Values{"cle": {otherID}, "texte": {written}, "etag": {""}})
	if slices.Contains(f.names(), "MessagingService/DeleteDraft") {
		t.Error("a draft that the page has not seen is deleted")
	}
	for code, answer := range map[codes.Code]int{
		codes.FailedPrecondition: http.StatusPreconditionFailed, codes.InvalidArgument: http.StatusUnprocessableEntity,
		codes.Unauthenticated: http.StatusUnauthorized, codes.Unavailable: http.StatusServiceUnavailable, codes.ResourceExhausted: http.StatusServiceUnavailable,
	} {
		f.on("MessagingService/SaveDraft", refuses(status.Error(code, "")))
		if w := b.post(at+"/enregistrer", url.Values{"texte": {written}}); w.Code != answer || w.Header().Get("ETag") != "" {
			t.Errorf("%s: %d", code, w.Code)
		}
	}
}

// A conversation that is hidden or shown from a page of the list leads back to that page, and to none
// of another site.
func TestHide_LeadsBackToItsPage(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	for at, act := range map[string]string{"/messagerie": "masquer", "/messagerie?q=absent": "masquer", "/messagerie?suite=n-2": "masquer", "/messagerie?masquees=1&q=absent&suite=n-2": "afficher"} {
		action := "/messagerie/conversations/" + conversationID + "/" + act
		_, form, _ := strings.Cut(b.get(at).Body.String(), `action="`+action+`">`)
		form, _, _ = strings.Cut(form, "</form>")
		sent := url.Values{}
		if _, back, ok := strings.Cut(form, `name="retour" value="`); ok {
			back, _, _ = strings.Cut(back, `"`)
			sent.Set("retour", html.UnescapeString(back))
		}
		b.led(b.post(action, sent), at)
	}
	b.led(b.post("/messagerie/conversations/"+conversationID+"/masquer", url.Values{"retour": {"//example.org"}}), "/messagerie")
}

// What stands in the field is the draft before its conversation is hidden, or shown again. Where
// it cannot be, it is in the field still, and nothing else is done.
func TestFollowUp_Hidden(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	at := "/messagerie/conversations/" + conversationID
	form := url.Values{"cle": {otherID}, "etag": {`"seen"`}, "texte": {written}}
	for act, method := range map[string]string{"masquer": "MessagingService/HideConversation", "afficher": "MessagingService/ShowConversation"} {
		called := func(method string) bool {
			return slices.ContainsFunc(f.calls(), func(c asked) bool { return c.method == method })
		}
		f.calls()
		b.led(b.post(at+"/"+act, form), "/messagerie")
		saved, header := one[*messagingpb.SaveDraftRequest](t, f.gateway, "MessagingService/SaveDraft")
		if saved.GetId() != conversationID || saved.GetConversationId() != conversationID || saved.GetText() != written || header.Get("if-match")[0] != `"seen"` {
			t.Errorf("%s saves %v, %v", act, saved, header)
		}
		if b.led(b.post(at+"/"+act, url.Values{"texte": {" "}}), "/messagerie"); called("MessagingService/SaveDraft") {
			t.Errorf("%s saves nothing", act)
		}
		well := f.scripts["MessagingService/SaveDraft"]
		for code, row := range map[codes.Code]struct {
			err    error
			answer int
			says   string
		}{
			codes.FailedPrecondition: {refused(codes.FailedPrecondition, "DRAFT_CHANGED", nil), http.StatusConflict, "Un autre texte a été enregistré entre-temps"},
			codes.Unavailable:        {status.Error(codes.Unavailable, ""), http.StatusServiceUnavailable, "Ce que vous avez écrit est ci-dessous"},
			codes.InvalidArgument:    {refused(codes.InvalidArgument, "BODY_TOO_LONG", map[string]string{"limit": "750", "actual": "800"}, "text"), http.StatusUnprocessableEntity, "au plus 750"},
		} {
			f.on("MessagingService/SaveDraft", refuses(row.err))
			f.keep(&messagingpb.Draft{Id: conversationID, Text: "Celui de l’autre onglet."})
			f.calls()
			w := b.post(at+"/"+act, form)
			b.shows(w, row.answer, row.says)
			if !has(w, []string{">\n" + written + "</textarea>"}) || called(method) {
				t.Errorf("%s: %s: what was typed is not in its field, or it was done: %s", act, code, text(w))
			}
			// Read, the other text may be replaced.
			if tag := html.UnescapeString(value(w, at+"/suite", "etag")); (tag == `"seen"`) == (code == codes.FailedPrecondition) {
				t.Errorf("%s: %s: the page has the tag %s", act, code, tag)
			}
		}
		// The same text is no conflict.
		f.on("MessagingService/SaveDraft", refuses(refused(codes.FailedPrecondition, "DRAFT_CHANGED", nil)))
		f.keep(&messagingpb.Draft{Id: conversationID, Text: written})
		b.led(b.post(at+"/"+act, form), "/messagerie")
		f.on("MessagingService/SaveDraft", well)
	}
}

// Of two tabs with one draft, neither overwrites the other's text unseen.
func TestMessage_TwoTabs(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.keep(selected("Le texte de l’autre onglet."))
	b := f.browse(t, jeanne)
	at := "/messagerie/brouillons/" + draftID
	form := recapForm(written)
	form.Set("etag", `"seen"`)
	b.led(b.post(at+"/message", form), at+"/recapitulatif")
	saved, header := one[*messagingpb.SaveDraftRequest](t, f.gateway, "MessagingService/SaveDraft")
	if saved.GetText() != written || header.Get("if-match")[0] != `"seen"` {
		t.Errorf("saved %v, %v", saved, header)
	}
	f.keep(selected("Le texte de l’autre onglet."))
	changed := func(request proto.Message) ([]proto.Message, error) {
		return nil, refused(codes.FailedPrecondition, "DRAFT_CHANGED", nil)
	}
	well := f.scripts["MessagingService/SaveDraft"]
	f.on("MessagingService/SaveDraft", changed)
	w := b.post(at+"/message", form)
	b.shows(w, http.StatusConflict, "Ce brouillon a changé depuis que la page est ouverte", written, "Le texte de l’autre onglet.")
	if !has(w, []string{">\n" + written + "</textarea>"}) {
		t.Error("what was typed is not in its field")
	}
	// One that was sent or deleted meanwhile is begun again; the same text is no conflict.
	refuseSeen := func(request proto.Message) ([]proto.Message, error) {
		f.on("MessagingService/SaveDraft", well)
		return changed(request)
	}
	f.on("MessagingService/SaveDraft", refuseSeen)
	f.keep(selected(written))
	b.led(b.post(at+"/message", form), at+"/recapitulatif")
	f.on("MessagingService/SaveDraft", refuseSeen)
	f.mu.Lock()
	delete(f.drafts, draftID)
	f.mu.Unlock()
	b.led(b.post(at+"/message", form), at+"/recapitulatif")
	// The script is told, and does not go on.
	f.on("MessagingService/SaveDraft", changed)
	if w := b.post(at+"/enregistrer", url.Values{"texte": {written}, "etag": {`"seen"`}}); w.Code != http.StatusPreconditionFailed {
		t.Errorf("the script is told %d", w.Code)
	}
}
