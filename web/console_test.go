package web

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// The list is what its address says, and leads back to itself.
func TestQueue_Filters(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent?file=famille&mains=moi&motif=allocations%2Fabsent&ordre=recentes&profil=EXPLOITANT&theme=famille"
	w := b.get(at + "&suite=xyz&etat=rouvertes")
	got, _ := one[*messagingpb.AgentServiceListConversationsRequest](t, f.gateway, "AgentService/ListConversations")
	want := &messagingpb.AgentServiceListConversationsRequest{
		Queue: "famille", Theme: "famille", Topic: "allocations", Reason: "absent", Audience: taxonomypb.Audience_EXPLOITANT, Mine: true, OrderBy: "newest",
		Status: []messagingpb.Status{messagingpb.Status_REOPENED}, PageToken: "xyz",
	}
	if !proto.Equal(got, want) {
		t.Errorf("asked for %v", got)
	}
	b.shows(w, http.StatusOK, "Suite de la file", "Retraite", "Allocations › Paiement absent")
	list := "/agent?" + url.Values{
		"file": {"famille"}, "mains": {"moi"}, "motif": {"allocations/absent"}, "ordre": {"recentes"}, "profil": {"EXPLOITANT"}, "theme": {"famille"}, "etat": {"rouvertes"},
	}.Encode()
	page := html.UnescapeString(w.Body.String())
	for what, want := range map[string]string{
		"the next page": `href="` + list + `&suite=suite-2"`, "a conversation": `href="/agent/conversations/` + conversationID + "?retour=",
		"the view of all": `href="/agent?` + url.Values{"file": {"famille"}, "motif": {"allocations/absent"}, "profil": {"EXPLOITANT"}, "theme": {"famille"}, "etat": {"toutes"}, "ordre": {"modifiees"}}.Encode() + `"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s: %s is not on the page", what, want)
		}
	}
	// A conversation leads back to that list, and so does what is done to it.
	_, link, _ := strings.Cut(page, `<h2><a href="`)
	link, _, _ = strings.Cut(link, `"`)
	w = b.get(link)
	if page := html.UnescapeString(w.Body.String()); !strings.Contains(page, `class="back" href="`+list+`"`) || !strings.Contains(page, `name="retour" value="`+list+`"`) {
		t.Errorf("%s does not lead back to %s", link, list)
	}
	conversation := "/agent/conversations/" + conversationID
	for act, to := range map[string]string{"relacher": list, "transfert": list, "prendre": conversation + "?" + url.Values{"retour": {list}}.Encode()} {
		b.led(b.post(conversation+"/"+act, url.Values{"retour": {list}, "file": {"retraite"}}), to)
	}
	// Nowhere else.
	b.led(b.post(conversation+"/relacher", url.Values{"retour": {"//example.org"}}), "/agent")
	if w := b.get(conversation + "?retour=https://example.org"); strings.Contains(w.Body.String(), `"https://example.org`) {
		t.Error("the page leads to another site")
	}
	// Themes of several audiences are listed once.
	if w := b.get("/agent"); strings.Count(w.Body.String(), `<option value="famille">Famille</option>`) != 1 {
		t.Error("a theme is listed several times, or not")
	}
	f.on("AgentService/ListConversations", answers(&messagingpb.AgentServiceListConversationsResponse{Conversations: []*messagingpb.Conversation{sampleConversation()}}))
	if w := b.get("/agent"); strings.Contains(text(w), "Suite de la file") {
		t.Error("the last page leads on")
	}
	f.on("AgentService/ListConversations", answers(&messagingpb.AgentServiceListConversationsResponse{}))
	if w := b.get("/agent"); strings.Contains(text(w), "Suite de la file") {
		t.Error("the last page leads on")
	} else {
		b.shows(w, http.StatusOK, "Aucune conversation ne correspond")
	}
}

// A line says since when its conversation waits for the fund, and in whose hands it is.
func TestQueue_Lines(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	c := sampleConversation()
	c.Status, c.WaitTime, c.UpdateTime = messagingpb.Status_REOPENED, timestamppb.New(time.Now().Add(-12*time.Minute)), timestamppb.New(sent)
	c.Claim, c.Hold = &messagingpb.ClaimInfo{Agent: "Sofiane Amrani"}, &messagingpb.Hold{}
	f.on("AgentService/ListConversations", answers(&messagingpb.AgentServiceListConversationsResponse{Conversations: []*messagingpb.Conversation{c}}))
	b.shows(b.get("/agent"), http.StatusOK, "attend depuis 12 min", "Prise en charge par Sofiane Amrani", "Conservation prolongée")
	c.WaitTime, c.Claim.Mine = nil, true
	if w := b.get("/agent"); strings.Contains(text(w), "attend depuis") || !strings.Contains(text(w), "modifiée le 23/11/2026 à 10 h 30") || !strings.Contains(text(w), "Prise en charge par vous") {
		t.Errorf("what does not wait: %s", text(w))
	}
}

func TestAgent_WhatIsAsked(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID + "/"
	for act, row := range map[string]struct {
		form url.Values
		want proto.Message
	}{
		"prendre":   {nil, &messagingpb.ClaimConversationRequest{Id: conversationID}},
		"relacher":  {nil, &messagingpb.ReleaseConversationRequest{Id: conversationID}},
		"confier":   {url.Values{"agent": {"agents:sofiane"}, "note": {"Tu connais le dossier."}}, &messagingpb.AssignConversationRequest{Id: conversationID, AgentId: "agents:sofiane", Note: "Tu connais le dossier."}},
		"reprendre": {url.Values{"note": {"Sofiane est absent."}}, &messagingpb.TakeOverConversationRequest{Id: conversationID, Note: "Sofiane est absent."}},
		"clore":     {url.Values{"dernier": {lastID}, "expliquer": {"1"}, "texte": {" Réglé par téléphone. "}}, &messagingpb.CloseConversationRequest{Id: conversationID, LastMessageId: lastID, Text: "Réglé par téléphone."}},
		"rouvrir":   {nil, &messagingpb.ReopenConversationRequest{Id: conversationID}},
		"transfert": {url.Values{"file": {"retraite"}, "dernier": {lastID}, "note": {"C’est pour vous."}}, &messagingpb.TransferConversationRequest{Id: conversationID, Queue: "retraite", LastMessageId: lastID, Note: "C’est pour vous."}},
		"reclasser": {url.Values{"choix": {"famille/logement"}}, &messagingpb.RecategoriseConversationRequest{Id: conversationID, Theme: "famille", Topic: "logement"}},
		"repondre": {
			url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {"Bonjour"}, "definitive": {"1"}, "complementaire": {"1"}, "faire": {"envoyer"}},
			&messagingpb.PostReplyRequest{Id: conversationID, Text: "Bonjour", Final: true, LastMessageId: lastID, Additional: true},
		},
		"noter": {url.Values{"cle": {otherID}, "note": {"À rappeler"}}, &messagingpb.AddNoteRequest{Id: conversationID, Text: "À rappeler"}},
	} {
		b.post(at+act, row.form)
		calls := f.calls()
		if len(calls) != 1 || !proto.Equal(calls[0].request, row.want) {
			t.Errorf("%s asks for %v", act, calls)
			continue
		}
		if key := strings.Join(calls[0].header.Get("idempotency-key"), ","); key != row.form.Get("cle") {
			t.Errorf("%s is asked for under %q", act, key)
		}
		if token := strings.Join(calls[0].header.Get("authorization"), ","); token != "Bearer token" {
			t.Errorf("%s is asked for by %q", act, token)
		}
	}
	b.shows(b.post(at+"rien", nil), http.StatusNotFound)
	b.shows(b.post(at+"rien", url.Values{"texte": {"Bonjour"}}), http.StatusNotFound)
	held := refused(codes.FailedPrecondition, "CLAIM_HELD", map[string]string{"agent": "Sofiane Amrani", "until": "2026-11-23T17:15:00Z"})
	f.on("AgentService/ClaimConversation", refuses(held))
	if w := b.post(at+"prendre", nil); !strings.Contains(w.Body.String(), "<h1>Cette conversation est déjà prise en charge</h1>") {
		t.Errorf("an act without a text is refused on another page: %s", text(w))
	} else {
		b.shows(w, http.StatusConflict, "Sofiane Amrani", "18 h 15")
	}
}

// The script that renews a claim gets no page, and leaves no note for the next one.
func TestAgent_Renewal(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	w := b.post(at+"/prendre", url.Values{"faire": {"renouveler"}})
	if w.Code != http.StatusNoContent || w.Body.Len() != 0 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	// Only whoever holds the conversation renews.
	c := sampleForAgent()
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: c}))
	for _, claim := range []*messagingpb.ClaimInfo{nil, {Mine: true}} {
		c.Claim = claim
		if w := b.get(at); strings.Contains(w.Body.String(), "data-claim=") != claim.GetMine() {
			t.Errorf("with the claim %v: the page renews, or does not", claim)
		}
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	form := func(do, words string) url.Values {
		return url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {words}, "faire": {do}}
	}
	kept := func(code int, words string, says ...string) {
		t.Helper()
		w := b.post(at+"/repondre", form("envoyer", words))
		b.shows(w, code, append(says, words)...)
		if !strings.Contains(w.Body.String(), `name="cle" value="`+otherID+`"`) {
			t.Error("the key is not kept")
		}
		if strings.Contains(w.Body.String(), `id="final" name="definitive" value="1" checked`) {
			t.Error("a reply that was not final is one now")
		}
	}
	b.shows(b.post(at+"/repondre", form("apercu", "Bonjour Jeanne")), http.StatusOK, "Aperçu", "Bonjour Jeanne")
	b.shows(b.post(at+"/repondre", form("apercu", "  ")), http.StatusUnprocessableEntity, "Écrivez une réponse.")
	for _, call := range f.names() {
		if call == "AgentService/PostReply" {
			t.Error("a preview was sent")
		}
	}
	f.on("AgentService/PostReply", refuses(refused(codes.InvalidArgument, "BODY_TOO_LONG", map[string]string{"limit": "5000", "actual": "5001"}, "text")))
	kept(http.StatusUnprocessableEntity, "Bonjour Jeanne", "Écrivez au plus 5000 caractères")
	f.on("AgentService/PostReply", refuses(refused(codes.FailedPrecondition, "CONVERSATION_CLOSED", nil)))
	kept(http.StatusConflict, "Bonjour Jeanne", "Cette conversation est close")
	for code, answer := range map[codes.Code]int{codes.Unavailable: http.StatusServiceUnavailable, codes.Internal: http.StatusInternalServerError, codes.ResourceExhausted: http.StatusTooManyRequests, codes.PermissionDenied: http.StatusForbidden} {
		f.on("AgentService/PostReply", refuses(status.Error(code, "")))
		kept(answer, "Bonjour Jeanne")
	}
	// Who holds it not has no form to answer with, unless they have written something.
	c := sampleForAgent()
	c.Claim = &messagingpb.ClaimInfo{Agent: "Sofiane Amrani", ExpireTime: timestamppb.New(sent)}
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: c}))
	f.on("AgentService/PostReply", refuses(refused(codes.FailedPrecondition, "CLAIM_HELD", map[string]string{"agent": "Sofiane Amrani"})))
	kept(http.StatusConflict, "Bonjour Jeanne", "Sofiane Amrani")
	if w := b.post(at+"/repondre", form("envoyer", "Bonjour Jeanne")); strings.Contains(w.Body.String(), "data-claim=") {
		t.Error("the page renews a colleague's claim")
	}
	if w := b.get(at); strings.Contains(w.Body.String(), "/repondre") {
		t.Error("an agent may answer what another holds")
	}
	c.Claim.Mine = true
	if w := b.get(at); !strings.Contains(w.Body.String(), "/repondre") {
		t.Error("an agent may not answer what they hold")
	}
	for _, change := range []func(){func() { c.Erased = true }, func() { c.Erased, c.Status = false, messagingpb.Status_CLOSED }} {
		change()
		if w := b.get(at); strings.Contains(w.Body.String(), "/repondre") {
			t.Error("an agent may answer what is closed or erased")
		}
	}
}

// value is that of the first field of a name after a mark on the page.
func value(w *httptest.ResponseRecorder, mark, name string) string {
	_, after, _ := strings.Cut(w.Body.String(), mark)
	_, after, _ = strings.Cut(after, `name="`+name+`" value="`)
	got, _, _ := strings.Cut(after, `"`)
	return got
}

// A reply says which message was the last on its page. Who has written since is told, and
// what; the same text is then sent from the new page, under a new key.
func TestReply_ToWhatWasRead(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	if got := value(b.get(at), "/repondre", "dernier"); got != lastID {
		t.Errorf("the page says that %q was read", got)
	}
	const followUpID = "0199aaaa-0000-7000-8000-000000000005"
	changed := sampleForAgent()
	changed.Messages = append(changed.Messages, &messagingpb.Message{Id: followUpID, Author: messagingpb.Author_MEMBER, Text: "J’ai oublié une chose.", CreateTime: timestamppb.New(sent)})
	changed.LastMessageId = followUpID
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: changed}))
	for reason, code := range map[string]codes.Code{"CONVERSATION_CHANGED": codes.Aborted, "LAST_MESSAGE_REQUIRED": codes.InvalidArgument} {
		for act, method := range map[string]string{"repondre": "PostReply", "clore": "CloseConversation", "transfert": "TransferConversation"} {
			f.on("AgentService/"+method, refuses(refused(code, reason, nil, "lastMessageId")))
			w := b.post(at+"/"+act, url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {"Bonjour Jeanne"}, "faire": {"envoyer"}, "file": {"retraite"}})
			b.shows(w, http.StatusConflict, "Jeanne Martin a écrit depuis", "J’ai oublié une chose.", "Bonjour Jeanne")
			if last, key := value(w, "/repondre", "dernier"), value(w, "/repondre", "cle"); last != followUpID || key == otherID || uuid.Validate(key) != nil {
				t.Errorf("%s, %s: it would be sent again as to %q, under %q", act, reason, last, key)
			}
			_, first, _ := strings.Cut(w.Body.String(), `id="m-`+followUpID)
			if strings.Count(w.Body.String(), ">Nouveau<") != 1 || !strings.Contains(first, ">Nouveau<") {
				t.Errorf("%s, %s: what is new is not marked", act, reason)
			}
		}
	}
	// A preview and a template tell it too.
	for _, do := range []string{"apercu", "modele"} {
		w := b.post(at+"/repondre", url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {"Bonjour Jeanne"}, "faire": {do}, "modele": {otherID}})
		b.shows(w, http.StatusUnprocessableEntity, "Jeanne Martin a écrit depuis", "Bonjour Jeanne")
		if strings.Contains(w.Body.String(), `class="preview"`) {
			t.Errorf("%s: what answers another message is shown as it would be sent", do)
		}
		if strings.Contains(w.Body.String(), " autofocus") {
			t.Errorf("%s: the focus is not at what is to be corrected", do)
		}
	}
	// What may have been done already is repeated as it was.
	f.on("AgentService/PostReply", refuses(status.Error(codes.DeadlineExceeded, "")))
	w := b.post(at+"/repondre", url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {"Bonjour Jeanne"}, "faire": {"envoyer"}})
	b.shows(w, http.StatusServiceUnavailable, "Bonjour Jeanne", "Ce que vous avez écrit est ci-dessous")
	if last, key := value(w, "/repondre", "dernier"), value(w, "/repondre", "cle"); last != lastID || key != otherID {
		t.Errorf("it would be repeated as to %q, under %q", last, key)
	}
}

// A second answer says that it is one more.
func TestReply_Additional(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	if w := b.get(at); strings.Contains(w.Body.String(), "complementaire") || !strings.Contains(text(w), "Envoyer la réponse") {
		t.Error("the first answer is an additional one")
	}
	f.on("AgentService/PostReply", refuses(refused(codes.FailedPrecondition, "ALREADY_ANSWERED", nil)))
	w := b.post(at+"/repondre", url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {"Bonjour Jeanne"}, "faire": {"envoyer"}})
	b.shows(w, http.StatusConflict, "Lisez-la, puis envoyez", "Envoyer une réponse complémentaire", "Bonjour Jeanne")
	if value(w, "/repondre", "complementaire") != "1" || value(w, "/repondre", "cle") == otherID {
		t.Error("what is sent next is no additional answer, or under the same key")
	}
	f.on("AgentService/PostReply", refuses(refused(codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", nil)))
	w = b.post(at+"/repondre", url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {"Bonjour Jeanne"}, "faire": {"envoyer"}})
	b.shows(w, http.StatusConflict, "Un premier envoi a été enregistré avec un autre texte", "Bonjour Jeanne")
	c := sampleForAgent()
	c.Answered, c.Messages[2].Final = true, true
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: c}))
	w = b.get(at)
	b.shows(w, http.StatusOK, "Claire Bernard a déjà répondu, le 23/11/2026 à 12 h 30.", "Envoyer une réponse complémentaire")
	if value(w, "/repondre", "complementaire") != "1" {
		t.Error("what is sent is no additional answer")
	}
}

// What an act does not take along is a draft, which the page that follows has in its fields; what
// another tab has written meanwhile is not replaced unseen.
func TestAgent_WhatIsLeft(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	form := func(tag string) url.Values {
		return url.Values{"cle": {otherID}, "dernier": {lastID}, "etag": {tag}, "texte": {"Une réponse"}, "note": {"Une note"}, "faire": {"envoyer"}, "agent": {"agents:sofiane"}, "file": {"retraite"}}
	}
	for act, want := range map[string]*messagingpb.AgentServiceSaveDraftRequest{
		"repondre": {Note: "Une note"}, "noter": {Text: "Une réponse"}, "confier": {Text: "Une réponse"}, "prendre": {Text: "Une réponse", Note: "Une note"},
	} {
		for tag, condition := range map[string][2]string{`"seen"`: {"if-match", `"seen"`}, "": {"if-none-match", "*"}} {
			f.calls()
			b.post(at+"/"+act, form(tag))
			want.ConversationId = conversationID
			got, header := one[*messagingpb.AgentServiceSaveDraftRequest](t, f.gateway, "AgentService/SaveDraft")
			if !proto.Equal(got, want) || strings.Join(header.Get(condition[0]), "") != condition[1] {
				t.Errorf("%s leaves %v under %v", act, got, header)
			}
		}
	}
	// Where nothing is left, no draft is.
	f.calls()
	b.led(b.post(at+"/repondre", url.Values{"etag": {`"seen"`}, "texte": {"Une réponse"}, "faire": {"envoyer"}}), at)
	if got, header := one[*messagingpb.AgentServiceDeleteDraftRequest](t, f.gateway, "AgentService/DeleteDraft"); got.GetConversationId() != conversationID || header.Get("if-match")[0] != `"seen"` {
		t.Errorf("deleted %v under %v", got, header)
	}
	f.on("AgentService/GetDraft", answers(&messagingpb.AgentServiceGetDraftResponse{Draft: &messagingpb.AgentDraft{Text: "Une réponse", Note: "Une note"}}))
	if w := b.get(at); !has(w, []string{">\nUne réponse</textarea>", ">\nUne note</textarea>"}) {
		t.Errorf("what was begun is not in its fields: %s", text(w))
	}
	// What cannot be kept is on the page that says what was done.
	for code, answer := range map[codes.Code]int{codes.FailedPrecondition: http.StatusConflict, codes.Unavailable: http.StatusOK, codes.InvalidArgument: http.StatusOK} {
		f.on("AgentService/SaveDraft", refuses(status.Error(code, "")))
		w := b.post(at+"/noter", form(`"seen"`))
		b.shows(w, answer, "La note est ajoutée. Ce que vous aviez écrit d’autre est ci-dessous, mais n’est pas enregistré.")
		if !has(w, []string{">\nUne réponse</textarea>"}) || has(w, []string{">\nUne note</textarea>"}) {
			t.Errorf("%s: %s", code, text(w))
		}
		// Its script saves it, unless that would replace what another tab has.
		if strings.Contains(w.Body.String(), " data-unstored") != (code != codes.FailedPrecondition) {
			t.Errorf("%s: it is to be saved at once, or is not", code)
		}
	}
	for _, act := range []string{"autres", "chercher"} {
		f.on("AgentService/SaveDraft", refuses(refused(codes.FailedPrecondition, "DRAFT_CHANGED", nil)))
		w := b.post(at+"/"+act, form(`"seen"`))
		b.shows(w, http.StatusConflict, "Ce que vous aviez écrit est ci-dessous, mais n’est pas enregistré.", "Une réponse", "Une note")
	}
	for code, answer := range map[codes.Code]int{
		codes.OK: http.StatusNoContent, codes.FailedPrecondition: http.StatusPreconditionFailed, codes.InvalidArgument: http.StatusUnprocessableEntity,
		codes.Unauthenticated: http.StatusUnauthorized, codes.Unavailable: http.StatusServiceUnavailable,
	} {
		if f.on("AgentService/SaveDraft", refuses(status.Error(code, ""))); code == codes.OK {
			f.on("AgentService/SaveDraft", answers(&messagingpb.AgentServiceSaveDraftResponse{}))
		}
		if w := b.post(at+"/enregistrer", form("")); w.Code != answer {
			t.Errorf("the script is told %d of %s", w.Code, code)
		}
	}
}

// What is looked for on a conversation's page, and a preview, keep what stands in its fields.
func TestAgent_LooksElsewhere(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	typed := url.Values{"etag": {`"seen"`}, "dernier": {lastID}, "texte": {"Une réponse"}, "note": {"Une note"}, "retour": {"/agent?mains=moi"}, "q": {reference}}
	for act, want := range map[string]*messagingpb.FindConversationsRequest{"autres": {ConversationId: conversationID}, "chercher": {Reference: reference}} {
		f.calls()
		w := b.post(at+"/"+act, typed)
		saved, header := one[*messagingpb.AgentServiceSaveDraftRequest](t, f.gateway, "AgentService/SaveDraft")
		if saved.GetText() != "Une réponse" || saved.GetNote() != "Une note" || saved.GetConversationId() != conversationID || header.Get("if-match")[0] != `"seen"` {
			t.Errorf("%s saves %v, %v", act, saved, header)
		}
		w = b.follow(w, claire)
		if got, _ := one[*messagingpb.FindConversationsRequest](t, f.gateway, "AgentService/FindConversations"); !proto.Equal(got, want) {
			t.Errorf("%s looks for %v", act, got)
		}
		if !strings.Contains(w.Body.String(), `href="`+at+`?retour=`) {
			t.Errorf("%s does not lead back: %s", act, w.Body)
		}
	}
	// Where nothing was typed, nothing is saved.
	f.calls()
	b.follow(b.post(at+"/autres", nil), claire)
	for _, call := range f.calls() {
		if strings.Contains(call.method, "Draft") {
			t.Errorf("%s without a text", call.method)
		}
	}
	b.shows(b.post(at+"/chercher", nil), http.StatusUnprocessableEntity, "Écrivez une référence")
	for do, begins := range map[string]string{"apercu": "Une réponse", "modele": "Une réponse\n\nVotre dossier"} {
		f.calls()
		typed.Set("faire", do)
		typed.Set("modele", templateID(t, b, at))
		w := b.post(at+"/repondre", typed)
		b.shows(w, http.StatusOK, "Une note")
		// Without a script too, one is at what has come, and hears what it is.
		focus := map[string]string{"apercu": `id="pv" tabindex="-1" autofocus>`, "modele": `name="texte" rows="8" dir="auto" aria-describedby="inserted" autofocus>`}
		if strings.Count(w.Body.String(), " autofocus") != 1 || !strings.Contains(w.Body.String(), focus[do]) || strings.Contains(text(w), "Le modèle est inséré dans votre réponse.") != (do == "modele") {
			t.Errorf("%s: the focus is elsewhere: %s", do, w.Body)
		}
		if saved, _ := one[*messagingpb.AgentServiceSaveDraftRequest](t, f.gateway, "AgentService/SaveDraft"); !strings.HasPrefix(saved.GetText(), begins[:11]) || saved.GetNote() != "Une note" {
			t.Errorf("%s saves %v", do, saved)
		}
	}
}

// templateID is that of the first template which a page offers.
func templateID(t *testing.T, b *browser, at string) string {
	t.Helper()
	_, after, _ := strings.Cut(b.get(at).Body.String(), `<option dir="auto" value="`)
	id, _, ok := strings.Cut(after, `"`)
	if !ok {
		t.Fatal("no template is offered")
	}
	return id
}

// Whatever the answer, what was typed is on the page that follows.
func TestAgent_NothingTypedIsLost(t *testing.T) {
	t.Parallel()
	const typed = "Un texte <b>qui</b> a pris du temps & de la peine"
	methods := map[string]string{
		"repondre": "PostReply", "noter": "AddNote", "clore": "CloseConversation", "transfert": "TransferConversation", "confier": "AssignConversation", "reprendre": "TakeOverConversation",
		"prendre": "ClaimConversation", "relacher": "ReleaseConversation", "reclasser": "RecategoriseConversation", "rouvrir": "ReopenConversation",
	}
	form := url.Values{"cle": {otherID}, "dernier": {lastID}, "texte": {typed}, "note": {typed + " (note)"}, "faire": {"envoyer"}, "agent": {"agents:sofiane"}, "file": {"retraite"}, "definitive": {"1"}}
	for act, method := range methods {
		t.Run(act, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			at := "/agent/conversations/" + conversationID + "/" + act
			for _, code := range []codes.Code{codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted, codes.ResourceExhausted, codes.Unavailable, codes.DeadlineExceeded, codes.Internal} {
				f.on("AgentService/"+method, refuses(status.Error(code, "secret detail")))
				b := f.browse(t, claire)
				w := b.post(at, form)
				if b.shows(w, w.Code, typed); w.Code < 400 || !strings.Contains(w.Body.String(), `>`+"\n"+html.EscapeString(typed)+`</textarea>`) || !strings.Contains(w.Body.String(), `>`+"\n"+html.EscapeString(typed)+` (note)</textarea>`) {
					t.Errorf("%s: %d, not in a field: %s", code, w.Code, w.Body)
				}
			}
			// Nor if the conversation cannot be read again, or the session is over.
			f.on("AgentService/GetConversation", refuses(status.Error(codes.Unavailable, "")))
			f.on("AgentService/"+method, refuses(status.Error(codes.Unavailable, "")))
			b := f.browse(t, claire)
			sent := func(w *httptest.ResponseRecorder, code int, says string) {
				t.Helper()
				b.shows(w, code, says, typed)
				for name := range form {
					if name != "texte" && name != "note" && value(w, `action="`+at, name) != form.Get(name) {
						t.Errorf("%s is sent again as %q", name, value(w, `action="`+at, name))
					}
				}
			}
			sent(b.post(at, form), http.StatusServiceUnavailable, "momentanément indisponible")
			f.on("AgentService/"+method, refuses(status.Error(codes.Unauthenticated, "")))
			sent(b.post(at, form), http.StatusUnauthorized, "Votre session est terminée")
			f.calls()
			b.cookies = map[string]string{}
			sent(b.post(at, form), http.StatusUnauthorized, "Votre session est terminée")
			if calls := f.names(); len(calls) != 0 {
				t.Errorf("for a stranger, %v is asked for", calls)
			}
		})
	}
}

// Who writes is on the page of those who may know, in no title and no address.
func TestAgent_WhoWrites(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	w := b.get(at)
	b.shows(w, http.StatusOK, "Jeanne Martin", memberNumber, "oui, choisi par la personne", "non : aucun SMS ne lui parvient", "Autres conversations de cette personne", "Claire Bernard 23/11/2026")
	head, _, _ := strings.Cut(w.Body.String(), "</head>")
	for _, canary := range []string{"Jeanne", memberNumber, url.QueryEscape(memberNumber)} {
		if strings.Contains(head, canary) || regexp.MustCompile(`(href|action|data-here)="[^"]*`+regexp.QuoteMeta(canary)).MatchString(w.Body.String()) {
			t.Errorf("%s is in the head or in an address", canary)
		}
	}
	// The member's words are on the other side.
	if !strings.Contains(w.Body.String(), `class="theirs" id="m-m1"`) || !strings.Contains(w.Body.String(), `class="mine" id="m-m2"`) {
		t.Error("the sides are reversed")
	}
	c := sampleForAgent()
	c.Member, c.Messages[1].Writer = nil, &messagingpb.Writer{Kind: messagingpb.Writer_MACHINE, Name: "CRM"}
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: c}))
	b.shows(b.get(at), http.StatusOK, "L’adhérent 23/11/2026", "Réponse automatique : CRM")
	// Whoever may not find has nothing to find with.
	f = newFront(t)
	b = f.browse(t, sofiane)
	if w := b.get(at); strings.Contains(w.Body.String(), "/agent/recherche") || strings.Contains(w.Body.String(), "/agent/audit") {
		t.Error("an agent is offered what they may not do")
	}
	b = f.browse(t, session.Session{ID: "lea", Realm: session.Agent, Name: "Léa", Finder: true})
	if w := b.get("/agent"); !strings.Contains(w.Body.String(), `action="/agent/recherche"`) || strings.Contains(w.Body.String(), "/agent/audit") {
		t.Error("an agent with member.read is not offered to find, or is offered the audit")
	}
}

// What an agent writes leads to the fund's own sites and to telephones, on both sides; what a
// member writes, and other addresses, are text.
func TestThread_Links(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	s, pages := siteBefore(t, Config{OwnSites: []string{"msa.example.org"}}, g.conn, g.conn)
	f := &front{g, s, pages}
	const words = "Voir https://msa.example.org/aide?a=1&b=2 ou https://evil.test/, ou appelez le 09 69 39 00 00 <b>"
	for author, links := range map[messagingpb.Author]int{messagingpb.Author_AGENT: 1, messagingpb.Author_MEMBER: 0} {
		c := sampleForAgent()
		c.Messages = []*messagingpb.Message{{Id: "m1", Author: author, Text: words, CreateTime: timestamppb.New(sent)}}
		f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: c}))
		f.on("MessagingService/GetConversation", answers(&messagingpb.GetConversationResponse{Conversation: c}))
		for at, who := range map[string]session.Session{"/agent/conversations/" + conversationID: claire, "/messagerie/conversations/" + conversationID: jeanne} {
			w := f.browse(t, who).get(at)
			b := f.browse(t, who)
			b.shows(w, http.StatusOK, words)
			for _, link := range []string{`<a href="https://msa.example.org/aide?a=1&amp;b=2" rel="noopener">https://msa.example.org/aide?a=1&amp;b=2</a> ou`, `<a href="tel:0969390000">09 69 39 00 00</a> &lt;b&gt;`} {
				if got := strings.Count(w.Body.String(), link); got != links {
					t.Errorf("%s, by %s: %q is there %d times", at, author, link, got)
				}
			}
			if strings.Contains(w.Body.String(), `href="https://evil.test`) {
				t.Errorf("%s leads to another site", at)
			}
		}
	}
}

// In whose hands: what each may do, and the colleagues it is offered for.
func TestAgent_Hands(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	at := "/agent/conversations/" + conversationID
	c := sampleForAgent()
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: c}))
	mine, theirs := &messagingpb.ClaimInfo{Mine: true}, &messagingpb.ClaimInfo{Agent: "Sofiane Amrani"}
	for _, row := range []struct {
		who                         session.Session
		claim                       *messagingpb.ClaimInfo
		assign, take, release, give bool
	}{
		{claire, nil, true, false, false, true},
		{claire, mine, true, false, true, true},
		{claire, theirs, true, true, false, false},
		{sofiane, nil, false, false, false, true},
		{sofiane, mine, true, false, true, true},
		{sofiane, theirs, false, false, false, false},
	} {
		c.Claim = row.claim
		f.calls()
		w := f.browse(t, row.who).get(at)
		asked := slices.Contains(f.names(), "AgentService/ListAgents")
		for act, want := range map[string]bool{"confier": row.assign, "reprendre": row.take, "relacher": row.release, "transfert": row.give} {
			if strings.Contains(w.Body.String(), at+"/"+act+`"`) != want {
				t.Errorf("%s, claim %v: %s is offered: %t", row.who.ID, row.claim, act, !want)
			}
		}
		if asked != row.assign {
			t.Errorf("%s, claim %v: colleagues are asked for: %t", row.who.ID, row.claim, asked)
		}
	}
	b := f.browse(t, claire)
	// Whoever has it is not given it.
	c.Claim = &messagingpb.ClaimInfo{Agent: "Sofiane Amrani", AgentId: "agents:sofiane"}
	if w := b.get(at); strings.Contains(w.Body.String(), `value="agents:sofiane"`) {
		t.Error("it may be assigned to whoever has it")
	}
	c.Claim = mine
	f.calls()
	b.shows(b.get(at), http.StatusOK, "Sofiane Amrani")
	if got, _ := one[*messagingpb.ListAgentsRequest](t, f.gateway, "AgentService/ListAgents"); got.GetQueue() != "famille" {
		t.Errorf("asked for %v", got)
	}
	f.on("AgentService/AssignConversation", refuses(refused(codes.InvalidArgument, "AGENT_UNKNOWN", nil, "agentId")))
	w := b.post(at+"/confier", url.Values{"agent": {"agents:sofiane"}, "note": {"Tu connais le dossier."}})
	b.shows(w, http.StatusUnprocessableEntity, "Ce conseiller ne peut pas recevoir", "Tu connais le dossier.")
	if !strings.Contains(w.Body.String(), `href="#agent"`) || !strings.Contains(w.Body.String(), `<details class="fold acts" open>`) {
		t.Error("the fault is not at its field, or folded away")
	}
	f.on("AgentService/TransferConversation", refuses(refused(codes.InvalidArgument, "QUEUE_UNKNOWN", nil, "queue")))
	w = b.post(at+"/transfert", url.Values{"file": {"famille"}, "note": {"C’est pour vous."}})
	b.shows(w, http.StatusUnprocessableEntity, "Cette file n’existe plus", "C’est pour vous.")
	if !strings.Contains(w.Body.String(), `href="#vers"`) {
		t.Error("the fault is not at the queue")
	}
	f.on("AgentService/ListAgents", refuses(status.Error(codes.Unavailable, "")))
	if w := b.get(at); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "/confier") {
		t.Errorf("without colleagues: %d", w.Code)
	}
}

// Whoever closes an unanswered message says why.
func TestAgent_Closing(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	b.shows(b.get(at), http.StatusOK, "dites à l’adhérent, dans « Votre réponse », pourquoi vous clôturez", "en est averti par e-mail")
	if w := b.get(at); value(w, "/repondre", "expliquer") != "1" {
		t.Error("what has no final reply may be closed without a sentence")
	}
	f.on("AgentService/CloseConversation", refuses(refused(codes.InvalidArgument, "CLOSING_TEXT_REQUIRED", nil, "text")))
	w := b.post(at+"/clore", url.Values{"dernier": {lastID}, "expliquer": {"1"}, "texte": {"  "}})
	b.shows(w, http.StatusUnprocessableEntity, "écrivez une phrase qui explique")
	if !strings.Contains(w.Body.String(), `href="#text"`) || !strings.Contains(w.Body.String(), `<details class="fold acts" open>`) {
		t.Error("the fault is not at its field, or folded away")
	}
	c := sampleForAgent()
	c.Answered = true
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: c}))
	if w := b.get(at); strings.Contains(text(w), "dites à l’adhérent") || !strings.Contains(w.Body.String(), `type="checkbox" id="explain"`) || strings.Contains(w.Body.String(), `name="expliquer" value="1" checked`) {
		t.Error("an answered one is closed with a sentence unless one says no")
	}
	// What was begun to be answered is not sent by closing, and stays.
	f.on("AgentService/CloseConversation", answers(&messagingpb.CloseConversationResponse{}))
	f.calls()
	b.led(b.post(at+"/clore", url.Values{"dernier": {lastID}, "texte": {"Bonjour"}, "definitive": {"1"}}), at)
	calls := f.calls()
	if calls[0].request.(*messagingpb.CloseConversationRequest).GetText() != "" || calls[1].request.(*messagingpb.AgentServiceSaveDraftRequest).GetText() != "Bonjour" {
		t.Errorf("asked for %v", calls)
	}
}

func TestAgent_Page(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	b.shows(b.get(at), http.StatusOK, "Famille › Logement › Demande", "L’e-mail d’annonce de la réponse va partir.", "Le SMS de confirmation est parvenu à l’adhérent.")
	if w := b.get(at); !strings.Contains(w.Body.String(), `value="famille/allocations/absent" selected`) {
		t.Error("the selection as it is, is not the one that is chosen")
	}
	// A template goes behind what was typed.
	begin := func(words string) string {
		w := b.post(at+"/repondre", url.Values{"dernier": {lastID}, "texte": {words}, "faire": {"modele"}, "modele": {otherID}})
		b.shows(w, http.StatusOK)
		return html.UnescapeString(w.Body.String())
	}
	filled := "Votre demande " + reference + " du lundi 23\u00a0novembre 2026 : Famille, Allocations, Paiement absent."
	if page := begin(" "); !strings.Contains(page, ">\n"+filled+"</textarea>") {
		t.Errorf("the template is not filled in: %s", page)
	}
	if page := begin("Bonjour {{date}}"); !strings.Contains(page, ">\nBonjour {{date}}\n\n"+filled+"</textarea>") {
		t.Errorf("what was typed is lost, or was taken for a template: %s", page)
	}
	// A selection ends where the audience's depth allows it.
	tree := sampleTree()
	tree.Depth = taxonomypb.Depth_TOPIC
	f = newFront(t)
	f.on("TaxonomyService/GetTaxonomy", answers(tree))
	b = f.browse(t, claire)
	if w := b.get(at); !strings.Contains(w.Body.String(), `value="famille/logement">`) || strings.Contains(w.Body.String(), `value="famille">`) || !strings.Contains(w.Body.String(), `value="famille/logement/demande">`) {
		t.Error("the selections are not those of the depth")
	}
	held := sampleForAgent()
	held.Hold = &messagingpb.Hold{CreateTime: timestamppb.New(sent), Note: "Recours <en cours>"}
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: held}))
	b.shows(b.get(at), http.StatusOK, "Conservation prolongée par décision du 23/11/2026 à 10 h 30 : Recours <en cours>")
	// What left is in the order of time, whatever order it comes in.
	b.shows(b.get(at), http.StatusOK, "10 h 31 Le SMS de confirmation est parvenu à l’adhérent. 23/11/2026 à 13 h 30 L’e-mail d’annonce de la réponse va partir.")
	f = newFront(t)
	f.on("TaxonomyService/GetTaxonomy", refuses(status.Error(codes.Unavailable, "")))
	f.on("AgentService/ListDeliveries", refuses(status.Error(codes.Unavailable, "")))
	b = f.browse(t, claire)
	w := b.get(at)
	b.shows(w, http.StatusOK, "Elles ne peuvent pas être affichées pour l’instant.")
	if strings.Contains(w.Body.String(), "/reclasser") {
		t.Error("there is a selection without the taxonomy")
	}
	f.on("AgentService/AddNote", refuses(refused(codes.InvalidArgument, "BODY_TOO_LONG", map[string]string{"limit": "2000", "actual": "2001"}, "text")))
	w = b.post(at+"/noter", url.Values{"cle": {otherID}, "note": {"À rappeler"}})
	b.shows(w, http.StatusUnprocessableEntity, "Écrivez au plus 2000 caractères", "À rappeler")
	if !strings.Contains(w.Body.String(), `href="#note"`) {
		t.Error("the fault is not at the note")
	}
}

func TestShortcuts(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	for _, row := range []struct{ given, back, to, keys string }{
		{"non", "/agent?etat=closes", "/agent?etat=closes", "false"}, {"oui", "", "/agent", "true"}, {"", "https://example.org", "/agent", "false"},
	} {
		b.led(b.post("/agent/raccourcis", url.Values{"actifs": {row.given}, "retour": {row.back}}), row.to)
		// They are on every page of the console, or on none.
		for _, at := range []string{"/agent", "/agent/statistiques", "/agent/conversations/" + conversationID} {
			if w := b.get(at); strings.Contains(w.Body.String(), `data-keys="true"`) != (row.keys == "true") {
				t.Errorf("after %q, the shortcuts of %s are not %s", row.given, at, row.keys)
			}
		}
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	if w := b.get("/agent/modeles?modifier=" + otherID); !strings.Contains(w.Body.String(), `value="Accusé"`) {
		t.Errorf("the template is not there to be edited: %s", text(w))
	}
	f.calls()
	b.led(b.post("/agent/modeles", url.Values{"id": {otherID}, "titre": {" Accusé "}, "texte": {" Bonjour "}, "file": {"famille"}}), "/agent/modeles")
	want := &messagingpb.SaveTemplateRequest{Id: otherID, Title: "Accusé", Text: "Bonjour", Queue: "famille"}
	if got, _ := one[*messagingpb.SaveTemplateRequest](t, f.gateway, "AgentService/SaveTemplate"); !proto.Equal(got, want) {
		t.Errorf("saved %v", got)
	}
	for name, row := range map[string]struct {
		title, words string
		says         []string
	}{
		"nothing":    {" ", " ", []string{"un titre de 80 caractères", "un texte de 5 000 caractères"}},
		"long title": {strings.Repeat("é", 81), "Bonjour", []string{"un titre de 80 caractères"}},
		"long text":  {strings.Repeat("é", 80), strings.Repeat("é", 5001), []string{"un texte de 5 000 caractères"}},
		"no fault":   {strings.Repeat("é", 80), strings.Repeat("é", 5000), nil},
	} {
		w := b.post("/agent/modeles", url.Values{"id": {otherID}, "titre": {row.title}, "texte": {row.words}})
		if row.says == nil {
			b.led(w, "/agent/modeles")
			continue
		}
		if b.shows(w, http.StatusUnprocessableEntity, append(row.says, "Modifier un modèle")...); t.Failed() {
			t.Log(name)
		}
		// What is refused is not there yet.
		b.shows(b.post("/agent/modeles", url.Values{"id": {draftID}, "titre": {row.title}, "texte": {row.words}}), http.StatusUnprocessableEntity, append(row.says, "Nouveau modèle")...)
	}
}

// A variable that there is not is told at the text, with what was typed.
func TestTemplates_Variables(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	b.shows(b.get("/agent/modeles"), http.StatusOK, "{{reference}}, {{theme}}, {{topic}}, {{reason}} et {{date}}")
	f.on("AgentService/SaveTemplate", refuses(refused(codes.InvalidArgument, "TEMPLATE_VARIABLE_UNKNOWN", map[string]string{"variable": "{{inconnu}}", "known": "{{reference}}, {{date}}"}, "text")))
	w := b.post("/agent/modeles", url.Values{"id": {otherID}, "titre": {"Accusé"}, "texte": {"Bonjour {{inconnu}}"}})
	b.shows(w, http.StatusUnprocessableEntity, "{{inconnu}} n’est pas une variable. Les variables sont {{reference}}, {{date}}.", "Bonjour {{inconnu}}")
	if !strings.Contains(w.Body.String(), `href="#text"`) || !strings.Contains(w.Body.String(), `value="`+otherID+`"`) {
		t.Error("the fault is not at the text, or the template is another one")
	}
	f.on("AgentService/SaveTemplate", refuses(status.Error(codes.Unavailable, "")))
	b.shows(b.post("/agent/modeles", url.Values{"id": {otherID}, "titre": {"Accusé"}, "texte": {"Un long modèle"}}), http.StatusServiceUnavailable, "Un long modèle")
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	for given, want := range map[string]int32{"": 30, "7": 7, "0": 30, "366": 366, "367": 30, "x": 30, "-1": 30} {
		b.get("/agent/statistiques?jours=" + given)
		if got, _ := one[*messagingpb.GetStatisticsRequest](t, f.gateway, "AgentService/GetStatistics"); got.GetDays() != want {
			t.Errorf("%q asks for %d days", given, got.GetDays())
		}
	}
	w := b.get("/agent/statistiques")
	b.shows(w, http.StatusOK, "67 %", "1,5 h", "4,0 j", "50 %", "3,0 j", "1 (25 %)", "Consulter mes paiements")
	// Each chart has its scale and its days in words, and every figure is in the table.
	b.shows(w, http.StatusOK, "Reçues · 4 au maximum en un jour 420 22/1123/11", "Répondues · 2 au maximum en un jour 420 22/1123/11", "dimanche 22 novembre 2026 4 1", "lundi 23 novembre 2026 2 2")
	// What was proposed to one audience is told from what was to another, by the words that members see.
	figures := func(audience taxonomypb.Audience, reason string) *taxonomypb.SuggestionFigures {
		return &taxonomypb.SuggestionFigures{Audience: audience, Theme: "famille", Topic: "allocations", Reason: reason, Service: &taxonomypb.OnlineService{Name: "Consulter mes paiements"}, Shown: 1}
	}
	f.on("TaxonomyService/GetSuggestionStatistics", answers(&taxonomypb.GetSuggestionStatisticsResponse{Figures: []*taxonomypb.SuggestionFigures{
		figures(taxonomypb.Audience_PARTICULIER, "absent"), figures(taxonomypb.Audience_EXPLOITANT, "absent"), figures(taxonomypb.Audience_PARTICULIER, "parti"),
	}}))
	b.shows(b.get("/agent/statistiques"), http.StatusOK, "Consulter mes paiements Particulier · Famille › Allocations › Paiement absent 1", "Consulter mes paiements Exploitant · Famille", "Particulier · famille › allocations › parti 1")
	f.on("TaxonomyService/GetSuggestionStatistics", refuses(status.Error(codes.Unavailable, "")))
	f.on("AgentService/GetStatistics", answers(&messagingpb.GetStatisticsResponse{Answers: &messagingpb.AnswerFigures{}}))
	b.shows(b.get("/agent/statistiques"), http.StatusOK, "Aucune conversation sur cette période", "Aucun service n’a été proposé")
}
