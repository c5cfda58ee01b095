package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

func TestFind(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	for _, row := range []struct {
		form url.Values
		want *messagingpb.FindConversationsRequest
		says []string
	}{
		{url.Values{"q": {" msa-7k3d 92qx "}}, &messagingpb.FindConversationsRequest{Reference: "msa-7k3d 92qx"}, nil},
		{url.Values{"q": {"7K3D92QX"}}, &messagingpb.FindConversationsRequest{Reference: "7K3D92QX"}, []string{"Chercher comme numéro d’adhérent"}},
		{url.Values{"q": {"7K3D92QX"}, "sens": {"numero"}}, &messagingpb.FindConversationsRequest{MemberNumber: "7K3D92QX"}, []string{"Chercher comme référence"}},
		{url.Values{"q": {memberNumber}, "suite": {"suite-3"}}, &messagingpb.FindConversationsRequest{MemberNumber: memberNumber, PageToken: "suite-3"}, nil},
		{url.Values{"conversation": {conversationID}}, &messagingpb.FindConversationsRequest{ConversationId: conversationID}, []string{"Autres conversations de cette personne"}},
	} {
		f.calls()
		w := b.follow(b.post("/agent/recherche", row.form), claire)
		if got, _ := one[*messagingpb.FindConversationsRequest](t, f.gateway, "AgentService/FindConversations"); !proto.Equal(got, row.want) {
			t.Errorf("%v: asked for %v", row.form, got)
		}
		b.shows(w, http.StatusOK, append(row.says, reference, "Suite")...)
		if len(row.says) == 0 && strings.Contains(text(w), "Cherché comme") {
			t.Errorf("%v: it could be meant otherwise", row.form)
		}
		if value(w, "", "q") != strings.TrimSpace(row.form.Get("q")) {
			t.Errorf("%v: %q is in the field", row.form, value(w, "", "q"))
		}
		if strings.Count(w.Body.String(), `id="q"`) != 1 {
			t.Errorf("%v: there are two fields, or none", row.form)
		}
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Location") != "" {
			t.Errorf("%v: it is kept, or led on: %v", row.form, w.Header())
		}
	}
	f.on("AgentService/FindConversations", answers(&messagingpb.FindConversationsResponse{}))
	at := b.post("/agent/recherche", url.Values{"q": {memberNumber}}).Header().Get("Location")
	b.shows(b.get(at), http.StatusOK, "Aucune conversation.")
	if strings.Contains(at, memberNumber) || strings.Contains(at, "numero") {
		t.Errorf("the number is in the address %s", at)
	}
	// Nobody else is led there.
	f.calls()
	f.browse(t, sofiane).get(at)
	if calls := f.names(); len(calls) != 0 {
		t.Errorf("another agent's address calls %v", calls)
	}
	f.calls()
	b.shows(b.post("/agent/recherche", url.Values{"q": {"  "}}), http.StatusUnprocessableEntity, "Écrivez une référence ou un numéro")
	if calls := f.names(); len(calls) != 0 {
		t.Errorf("nothing is looked for by %v", calls)
	}
	b.cookies[render.LanguageCookie] = "en"
	b.shows(b.get("/agent/recherche"), http.StatusOK, "Reference or member number")
}

// What was typed stays in its field, whatever the answer.
func TestFind_Refused(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, claire)
	for _, row := range []struct {
		err  error
		code int
		says string
	}{
		{refused(codes.InvalidArgument, "REFERENCE_INVALID", nil, "reference"), http.StatusUnprocessableEntity, "un caractère est faux ou deux sont inversés"},
		{refused(codes.InvalidArgument, "SEARCH_INVALID", nil, "memberNumber"), http.StatusUnprocessableEntity, "avec ses chiffres"},
		{refused(codes.InvalidArgument, "TOO_LONG", map[string]string{"limit": "64"}, "memberNumber"), http.StatusUnprocessableEntity, "au plus 64 caractères"},
		{refused(codes.PermissionDenied, "SCOPE_MISSING", nil), http.StatusForbidden, "demandez-le à un superviseur"},
		{status.Error(codes.Unavailable, ""), http.StatusServiceUnavailable, "momentanément indisponible"},
		{status.Error(codes.ResourceExhausted, ""), http.StatusTooManyRequests, "Trop de demandes"},
	} {
		f.on("AgentService/FindConversations", refuses(row.err))
		w := b.follow(b.post("/agent/recherche", url.Values{"q": {"MSA-7K3D92QY"}}), claire)
		b.shows(w, row.code, row.says)
		if later := row.code == http.StatusServiceUnavailable || row.code == http.StatusTooManyRequests; later != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After %q", row.says, w.Header().Get("Retry-After"))
		}
		if value(w, "", "q") != "MSA-7K3D92QY" || !strings.Contains(w.Body.String(), `href="#q"`) {
			t.Errorf("%s: what was typed is not in the field, or the fault not at it", row.says)
		}
	}
	// What was looked for is in no address that leads to the sign-in, and is found after it.
	f.on("AgentService/FindConversations", refuses(status.Error(codes.Unauthenticated, "")))
	at := b.post("/agent/recherche", url.Values{"q": {memberNumber}, kept.Author: {kept.Sign(f.Seal, &claire)}}).Header().Get("Location")
	w := b.led(b.get(at), "/connexion?pour=agent&retour="+url.QueryEscape(at))
	if strings.Contains(w.Body.String(), memberNumber) {
		t.Error("the number is on the page to sign in")
	}
}
