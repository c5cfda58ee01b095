package web

import (
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
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

func TestQueue_Filters(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	for state, want := range map[string][]messagingpb.Status{
		"": nil, "nouveaux": {messagingpb.Status_SENT}, "encours": {messagingpb.Status_IN_PROGRESS}, "partielles": {messagingpb.Status_PARTLY_ANSWERED},
		"rouvertes": {messagingpb.Status_REOPENED}, "repondues": {messagingpb.Status_ANSWERED}, "closes": {messagingpb.Status_CLOSED}, "autre": nil,
	} {
		w := b.get("/agent?file=famille&theme=retraite&suite=xyz&etat=" + state)
		got, _ := one[*messagingpb.AgentServiceListConversationsRequest](t, f.gateway, "AgentService/ListConversations")
		if !slices.Equal(got.GetStatuses(), want) || got.GetQueue() != "famille" || got.GetTheme() != "retraite" || got.GetPageToken() != "xyz" {
			t.Errorf("%q: asked for %v", state, got)
		}
		b.shows(w, http.StatusOK, "Suite de la file", "Retraite")
		// The next page has the same filters.
		if want := `href="/agent?` + strings.ReplaceAll(url.Values{"file": {"famille"}, "theme": {"retraite"}, "etat": {state}}.Encode(), "&", "&amp;") + `&amp;suite=suite-2"`; !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q: %s is not on the page", state, want)
		}
	}
	// Themes of several audiences are listed once; without the taxonomy, none.
	if w := b.get("/agent"); strings.Count(w.Body.String(), `<option value="famille">Famille</option>`) != 1 {
		t.Error("a theme is listed several times, or not")
	}
	f.on("AgentService/ListConversations", answers(&messagingpb.AgentServiceListConversationsResponse{}))
	b.shows(b.get("/agent"), http.StatusOK, "Aucune conversation ne correspond")
}

func TestQueue_Waits(t *testing.T) {
	t.Parallel()
	now := sent.Add(51*time.Hour + 59*time.Minute)
	page := queuePage{Now: now}
	c := &messagingpb.Conversation{CreateTime: timestamppb.New(sent)}
	if page.Days(c) != 2 || page.Hours(c) != 3 {
		t.Errorf("%d days and %d hours", page.Days(c), page.Hours(c))
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
		"clore":     {nil, &messagingpb.CloseConversationRequest{Id: conversationID}},
		"rouvrir":   {nil, &messagingpb.ReopenConversationRequest{Id: conversationID}},
		"transfert": {url.Values{"file": {"retraite"}}, &messagingpb.TransferConversationRequest{Id: conversationID, Queue: "retraite"}},
		"reclasser": {url.Values{"choix": {"famille/logement"}}, &messagingpb.RecategoriseConversationRequest{Id: conversationID, Theme: "famille", Topic: "logement"}},
		"repondre": {
			url.Values{"cle": {otherID}, "texte": {"Bonjour"}, "definitive": {"1"}, "faire": {"envoyer"}},
			&messagingpb.PostReplyRequest{Id: conversationID, Text: "Bonjour", Final: true},
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
	held := refused(codes.FailedPrecondition, "CLAIM_HELD", map[string]string{"agent": "Sofiane Amrani", "until": "2026-11-23T17:15:00Z"})
	f.on("AgentService/ClaimConversation", refuses(held))
	b.shows(b.post(at+"prendre", nil), http.StatusConflict, "Sofiane Amrani", "18:15")
}

func TestReply(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	form := func(do, words string) url.Values {
		return url.Values{"cle": {otherID}, "texte": {words}, "faire": {do}}
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
	f.on("AgentService/PostReply", refuses(status.Error(codes.Unavailable, "")))
	kept(http.StatusServiceUnavailable, "Bonjour Jeanne", "momentanément indisponible")
	// Who holds it not has no form to answer with.
	c := sampleConversation()
	c.Claim = &messagingpb.ClaimInfo{Agent: "Sofiane Amrani", ExpireTime: timestamppb.New(sent)}
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: c}))
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

func TestAgent_Page(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	at := "/agent/conversations/" + conversationID
	w := b.get(at + "?modele=" + otherID)
	b.shows(w, http.StatusOK, "Votre demande "+reference+" du lundi 23 novembre 2026 : Famille, Allocations.", "Famille › Logement › Demande", "L’adhérent")
	// A selection ends where the audience's depth allows it.
	tree := sampleTree()
	tree.Depth = taxonomypb.Depth_TOPIC
	f = newFront(t)
	f.on("TaxonomyService/GetTaxonomy", answers(tree))
	b = f.browse(t, claire)
	if w := b.get(at); !strings.Contains(w.Body.String(), `value="famille/logement">`) || strings.Contains(w.Body.String(), `value="famille">`) || !strings.Contains(w.Body.String(), `value="famille/logement/demande">`) {
		t.Error("the selections are not those of the depth")
	}
	held := sampleConversation()
	held.Hold = &messagingpb.Hold{CreateTime: timestamppb.New(sent), Note: "Recours <en cours>"}
	f.on("AgentService/GetConversation", answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: held}))
	b.shows(b.get(at), http.StatusOK, "Conservée au-delà de son terme, depuis le 23/11/2026 à 10:30 : Recours <en cours>")
	f = newFront(t)
	f.on("TaxonomyService/GetTaxonomy", refuses(status.Error(codes.Unavailable, "")))
	f.on("AgentService/ListDeliveries", refuses(status.Error(codes.Unavailable, "")))
	b = f.browse(t, claire)
	w = b.get(at)
	b.shows(w, http.StatusOK, "Aucune.")
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
		if w := b.get("/agent"); !strings.Contains(w.Body.String(), `data-keys="`+row.keys+`"`) {
			t.Errorf("after %q, the shortcuts are not %s", row.given, row.keys)
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
		if b.shows(w, http.StatusUnprocessableEntity, row.says...); t.Failed() {
			t.Log(name)
		}
	}
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
	b.shows(b.get("/agent/statistiques"), http.StatusOK, "67 %", "1,5 h", "4,0 j", "50 %", "3,0 j", "1 (25 %)", "Consulter mes paiements")
	f.on("TaxonomyService/GetSuggestionStatistics", refuses(status.Error(codes.Unavailable, "")))
	f.on("AgentService/GetStatistics", answers(&messagingpb.GetStatisticsResponse{Answers: &messagingpb.AnswerFigures{}}))
	b.shows(b.get("/agent/statistiques"), http.StatusOK, "Aucune conversation sur cette période", "Aucun service n’a été proposé")
}
