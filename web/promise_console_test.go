package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/fair"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// sortedStates are in the order of their names: some are rows of a map.
func sortedStates(all []situation) []situation {
	slices.SortStableFunc(all, func(a, b situation) int { return strings.Compare(a.name, b.name) })
	return all
}

func agentConversations() (all []situation) {
	at := promisedForAgent
	page := func(name string, change func(*messagingpb.Conversation)) {
		all = append(all, situation{name: "console: " + name, who: claire, on: on{"AgentService/GetConversation": forAgent(change), "AgentService/ListDeliveries": noMailsOut}, do: opened(at)})
	}
	page("answered", func(c *messagingpb.Conversation) { c.Answered = true })
	page("a final reply", func(c *messagingpb.Conversation) { c.Answered, c.Messages[2].Final = true, true })
	page("not answered", func(c *messagingpb.Conversation) { c.Status = messagingpb.Status_SENT })
	page("claimed by me", func(c *messagingpb.Conversation) {
		c.Claim = &messagingpb.ClaimInfo{Mine: true, ExpireTime: timestamppb.New(sent)}
	})
	page("claimed by a colleague", func(c *messagingpb.Conversation) {
		c.Claim = &messagingpb.ClaimInfo{Agent: "Sofiane Amrani", AgentId: "agents:sofiane", ExpireTime: timestamppb.New(sent)}
	})
	page("on hold", func(c *messagingpb.Conversation) {
		c.Hold = &messagingpb.Hold{Note: "Recours", CreateTime: timestamppb.New(sent)}
	})
	page("notes", func(c *messagingpb.Conversation) {
		c.Notes = []*messagingpb.Note{{Agent: "Claire", Text: "x", CreateTime: timestamppb.New(sent)}}
	})
	page("closed", func(c *messagingpb.Conversation) { c.Status = messagingpb.Status_CLOSED })
	page("erased", erased)
	for _, email := range []messagingpb.Member_Contact{messagingpb.Member_CONTACT_UNSPECIFIED, messagingpb.Member_ABSENT, messagingpb.Member_ACCOUNT, messagingpb.Member_CHOSEN} {
		for _, phone := range []messagingpb.Member_Contact{messagingpb.Member_CONTACT_UNSPECIFIED, messagingpb.Member_ABSENT, messagingpb.Member_ACCOUNT, messagingpb.Member_CHOSEN} {
			page("e-mail "+email.String()+", telephone "+phone.String(), func(c *messagingpb.Conversation) { c.Member.Email, c.Member.Phone = email, phone })
		}
	}
	return append(all,
		situation{name: "console: the notifier is away", who: claire, on: on{"AgentService/ListDeliveries": away}, do: opened(at)},
		situation{name: "console: there is none", who: claire, on: on{"AgentService/GetConversation": refuses(status.Error(codes.NotFound, ""))}, do: opened(at)},
		situation{name: "console: a draft", who: claire, on: on{"AgentService/ListDeliveries": noMailsOut, "AgentService/GetDraft": answers(&messagingpb.AgentServiceGetDraftResponse{Draft: &messagingpb.AgentDraft{Text: "Bonjour", UpdateTime: timestamppb.New(time.Now())}})}, do: opened(at)},
		situation{name: "console: preview", who: claire, on: on{"AgentService/ListDeliveries": noMailsOut}, do: posted(at+"/repondre", "cle", otherID, "dernier", lastID, "texte", "Bonjour", "faire", "apercu")},
		situation{name: "console: preview after somebody has written", who: claire, on: on{"AgentService/ListDeliveries": noMailsOut}, do: posted(at+"/repondre", "cle", otherID, "dernier", conversationID, "texte", "Bonjour", "faire", "apercu")},
	)
}

func agentActs() (all []situation) {
	at := promisedForAgent
	quiet := on{"AgentService/ListDeliveries": noMailsOut}
	for act, more := range map[string][]string{
		"prendre": nil, "relacher": nil, "reprendre": nil, "clore": nil, "rouvrir": nil, "confier": {"agent", "agents:sofiane"}, "transfert": {"file", "retraite"},
		"reclasser": {"choix", "famille/logement/demande"}, "repondre": {"texte", "Bonjour", "faire", "envoyer"}, "noter": {"note", "À rappeler"},
	} {
		all = append(all, situation{name: "act: " + act, who: claire, on: quiet, do: posted(at+"/"+act, append([]string{"cle", otherID, "dernier", lastID}, more...)...)})
	}
	reply := func(name string, err error, more ...string) {
		answers := on{"AgentService/ListDeliveries": noMailsOut, "AgentService/PostReply": refuses(err)}
		form := append([]string{"cle", otherID, "dernier", lastID, "texte", "Bonjour", "faire", "envoyer"}, more...)
		all = append(all, situation{name: "reply: " + name, who: claire, on: answers, do: posted(at+"/repondre", form...)})
	}
	reply("nothing new is known", refused(codes.FailedPrecondition, "CONVERSATION_CHANGED", nil))
	reply("somebody has written", refused(codes.FailedPrecondition, "CONVERSATION_CHANGED", nil), "dernier", conversationID)
	reply("answered meanwhile", refused(codes.FailedPrecondition, "ALREADY_ANSWERED", nil))
	reply("claimed meanwhile", refused(codes.FailedPrecondition, "CLAIM_HELD", map[string]string{"agent": "Sofiane Amrani", "until": "2026-11-23T17:15:00Z"}))
	reply("claimed, no end known", refused(codes.FailedPrecondition, "CLAIM_HELD", map[string]string{"agent": "Sofiane Amrani"}))
	reply("closed meanwhile", refused(codes.FailedPrecondition, "CONVERSATION_CLOSED", nil))
	reply("erased meanwhile", refused(codes.FailedPrecondition, "CONVERSATION_ERASED", nil))
	reply("not claimed", refused(codes.FailedPrecondition, "CLAIM_NOT_HELD", nil))
	reply("another state", refused(codes.FailedPrecondition, "SOMETHING_NEW", nil))
	reply("reused", refused(codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", nil))
	reply("away", status.Error(codes.Unavailable, ""))
	reply("a fault", status.Error(codes.Internal, ""))
	reply("too many", status.Error(codes.ResourceExhausted, ""))
	reply("no right", refused(codes.PermissionDenied, "SCOPE_MISSING", nil))
	with := func(more on) on {
		more["AgentService/ListDeliveries"] = noMailsOut
		return more
	}
	return append(sortedStates(all),
		situation{name: "act: done, and the rest could not be kept", who: claire, on: with(on{"AgentService/SaveDraft": away}), do: posted(at+"/noter", "cle", otherID, "note", "À rappeler", "texte", "Bonjour")},
		situation{name: "act: done, and the draft is another tab's", who: claire, on: with(on{"AgentService/SaveDraft": refuses(status.Error(codes.FailedPrecondition, ""))}), do: posted(at+"/noter", "cle", otherID, "note", "À rappeler", "texte", "Bonjour")},
		situation{name: "find: what was typed could not be kept", who: claire, on: with(on{"AgentService/SaveDraft": away}), do: posted(at+"/autres", "texte", "Bonjour")},
		situation{name: "close: an explanation is missing", who: claire, on: with(on{"AgentService/CloseConversation": refuses(refused(codes.InvalidArgument, "CLOSING_TEXT_REQUIRED", nil, "text"))}), do: posted(at+"/clore", "dernier", lastID)},
		situation{name: "assign: to whom it cannot be", who: claire, on: with(on{"AgentService/AssignConversation": refuses(refused(codes.InvalidArgument, "AGENT_UNKNOWN", nil, "agentId"))}), do: posted(at+"/confier", "agent", "x")},
		situation{name: "transfer: out of sight, and a reply was begun", who: claire, on: with(on{"AgentService/SaveDraft": refuses(refused(codes.NotFound, "CONVERSATION_NOT_FOUND", nil)), "AgentService/GetConversation": refuses(refused(codes.NotFound, "CONVERSATION_NOT_FOUND", nil))}), do: posted(at+"/transfert", "file", "retraite", "texte", "Bonjour", "dernier", lastID)},
		situation{name: "transfer: to a queue that there is not", who: claire, on: with(on{"AgentService/TransferConversation": refuses(refused(codes.InvalidArgument, "QUEUE_UNKNOWN", nil, "queue"))}), do: posted(at+"/transfert", "file", "x")},
		situation{name: "claim: closed", who: claire, on: with(on{"AgentService/ClaimConversation": refuses(refused(codes.FailedPrecondition, "CONVERSATION_CLOSED", nil))}), do: posted(at + "/prendre")},
		situation{name: "claim: answered", who: claire, on: with(on{"AgentService/ClaimConversation": refuses(refused(codes.FailedPrecondition, "ALREADY_ANSWERED", nil))}), do: posted(at + "/prendre")},
		situation{name: "claim: a second to wait", who: claire, on: with(on{"AgentService/ClaimConversation": refuses(waitFor(time.Second))}), do: posted(at + "/prendre")},
		situation{name: "claim: held by a colleague", who: claire, on: with(on{"AgentService/ClaimConversation": refuses(refused(codes.FailedPrecondition, "CLAIM_HELD", map[string]string{"agent": "Sofiane Amrani", "until": "2026-11-23T17:15:00Z"}))}), do: posted(at + "/prendre")},
	)
}

func agentLists() []situation {
	list := func(change func(*messagingpb.Conversation)) on {
		c := sampleConversation()
		change(c)
		return on{"AgentService/ListConversations": answers(&messagingpb.AgentServiceListConversationsResponse{Conversations: []*messagingpb.Conversation{c}})}
	}
	var entries []*messagingpb.AuditEntry
	for action := range messagingpb.AuditEntry_Action_name {
		for _, target := range []string{"", "retraite"} {
			entries = append(entries, &messagingpb.AuditEntry{Time: timestamppb.New(sent), Action: messagingpb.AuditEntry_Action(action), Target: target})
		}
	}
	return []situation{
		{name: "queue: waits", who: sofiane, on: list(func(c *messagingpb.Conversation) { c.WaitTime = timestamppb.New(sent) }), do: opened("/agent")},
		{name: "queue: waits no more", who: sofiane, on: list(func(c *messagingpb.Conversation) { c.UpdateTime = timestamppb.New(sent) }), do: opened("/agent?etat=toutes")},
		{name: "queue: mine", who: sofiane, on: list(func(c *messagingpb.Conversation) {
			c.WaitTime, c.Claim = timestamppb.New(sent), &messagingpb.ClaimInfo{Mine: true}
		}), do: opened("/agent")},
		{name: "queue: a colleague's, on hold", who: sofiane, on: list(func(c *messagingpb.Conversation) {
			c.WaitTime, c.Claim, c.Hold = timestamppb.New(sent), &messagingpb.ClaimInfo{Agent: "Claire Bernard"}, &messagingpb.Hold{}
		}), do: opened("/agent")},
		{name: "queue: nothing there", who: sofiane, on: on{"AgentService/ListConversations": answers(&messagingpb.AgentServiceListConversationsResponse{})}, do: opened("/agent?theme=famille")},
		{name: "find: nothing there", who: claire, on: on{"AgentService/FindConversations": answers(&messagingpb.FindConversationsResponse{})}, do: looked("q", reference)},
		{name: "find: as a reference, or a number", who: claire, do: looked("q", "7K3D92QX", "sens", "reference")},
		{name: "find: as a number, or a reference", who: claire, do: looked("q", "7K3D92QX", "sens", "numero")},
		{name: "find: a wrong reference", who: claire, on: on{"AgentService/FindConversations": refuses(refused(codes.InvalidArgument, "REFERENCE_INVALID", nil, "reference"))}, do: looked("q", reference)},
		{name: "find: the service is away", who: claire, on: on{"AgentService/FindConversations": away}, do: looked("q", reference)},
		{name: "audit: each action", who: claire, on: on{"AgentService/ListAuditEntries": answers(&messagingpb.ListAuditEntriesResponse{Entries: entries})}, do: opened("/agent/audit")},
		{name: "audit: nothing there", who: claire, on: on{"AgentService/ListAuditEntries": answers(&messagingpb.ListAuditEntriesResponse{})}, do: opened("/agent/audit")},
		{name: "audit: until before since", who: claire, on: on{"AgentService/ListAuditEntries": refuses(refused(codes.InvalidArgument, "FILTERS_CONTRADICTORY", nil, "until"))}, do: opened("/agent/audit")},
		{name: "audit: no such reference", who: claire, on: on{"AgentService/FindConversations": answers(&messagingpb.FindConversationsResponse{})}, do: posted("/agent/audit", "conversation", reference)},
		{name: "audit: a fault", who: claire, on: on{"AgentService/FindConversations": refuses(status.Error(codes.Internal, ""))}, do: posted("/agent/audit", "conversation", reference)},
		{name: "templates: none", who: claire, on: on{"AgentService/ListTemplates": answers(&messagingpb.ListTemplatesResponse{})}, do: opened("/agent/modeles")},
		{name: "templates: of no supervisor", who: sofiane, do: opened("/agent/modeles")},
		{name: "templates: saved", who: claire, do: posted("/agent/modeles", "id", otherID, "titre", "Accusé", "texte", "Bonjour")},
		{name: "templates: deleted", who: claire, do: posted("/agent/modeles/" + otherID + "/supprimer")},
		{name: "statistics", who: claire, do: opened("/agent/statistiques")},
		{name: "statistics: nothing there", who: claire, on: on{"AgentService/GetStatistics": answers(&messagingpb.GetStatisticsResponse{Days: sampleStatistics().GetDays(), Answers: &messagingpb.AnswerFigures{}}), "TaxonomyService/GetSuggestionStatistics": answers(&taxonomypb.GetSuggestionStatisticsResponse{}), "TaxonomyService/GetSearchStatistics": answers(&taxonomypb.GetSearchStatisticsResponse{})}, do: opened("/agent/statistiques")},
	}
}

func sessions() []situation {
	long := strings.Repeat("Une phrase assez longue, numéro après numéro. ", 2)
	ended := func(text string) func(*browser) *httptest.ResponseRecorder {
		return func(b *browser) *httptest.ResponseRecorder {
			form := formWithAuthor(b, promisedConversation)
			form.Set("cle", otherID)
			form.Set("texte", text)
			delete(b.cookies, session.Cookie)
			return b.post(promisedConversation+"/suite", form)
		}
	}
	noise := new(strings.Builder)
	for i := range 3000 { // cannot be packed
		noise.WriteRune(rune(0x4e00 + i*7919%20000))
	}
	return []situation{
		{name: "session: none", anonymous: true, do: opened("/messagerie")},
		{name: "session: ended while writing", do: ended(long)},
		{name: "session: ended while writing more than is carried", do: ended(noise.String())},
		{name: "session: handed back", do: func(b *browser) *httptest.ResponseRecorder {
			w := ended(long)(b)
			return b.follow(w, jeanne)
		}},
		{name: "session: a page of another account", do: func(b *browser) *httptest.ResponseRecorder {
			form := formWithAuthor(b, promisedConversation)
			form.Set("cle", otherID)
			b.cookies[session.Cookie] = b.front.browse(b.t, session.Session{ID: "marc", Realm: session.Member, Subject: "members:marc", Profiles: jeanne.Profiles, Audience: jeanne.Audience}).cookies[session.Cookie]
			return b.post(promisedConversation+"/suite", form)
		}},
		{name: "session: the wrong side", do: opened("/agent")},
		{name: "session: sign-in failed", anonymous: true, do: opened("/auth/callback?state=x&code=y")},
		{name: "session: signed out", do: func(b *browser) *httptest.ResponseRecorder {
			w := b.post("/deconnexion", nil)
			if b.cookies[receipt.Cookie] != "" {
				b.t.Error("the receipt is left")
			}
			return w
		}},
		{name: "bounds: too many forms", do: func(b *browser) *httptest.ResponseRecorder { return tooMany(b, true) }},
		{name: "bounds: too many pages", do: func(b *browser) *httptest.ResponseRecorder { return tooMany(b, false) }},
		{name: "bounds: too many forms of nobody", do: func(b *browser) *httptest.ResponseRecorder {
			s, pages := siteBefore(b.t, Config{Bounds: fair.Bounds{RatePerAddress: 0.01, BurstPerAddress: 1}}, b.front.conn, b.front.conn)
			again := &browser{t: b.t, front: &front{b.front.gateway, s, pages}, cookies: map[string]string{render.LanguageCookie: b.cookies[render.LanguageCookie]}}
			again.get("/aide")
			return again.post(promisedConversation+"/suite", url.Values{"texte": {written}})
		}},
		{name: "bounds: another site's form", do: foreign},
		{name: "nowhere", do: opened("/nulle-part")},
	}
}

// formWithAuthor is a form that says whose page it is from.
func formWithAuthor(b *browser, at string) url.Values {
	form := url.Values{}
	for _, input := range elements(parsed(b.t, b.get(at)), "input") {
		if attr(input, "name") == kept.Author {
			form.Set(kept.Author, attr(input, "value"))
		}
	}
	return form
}

// tooMany is what the second request gets of who may make one, with what was typed or without.
func tooMany(b *browser, typed bool) *httptest.ResponseRecorder {
	s, pages := siteBefore(b.t, Config{Bounds: fair.Bounds{RatePerCaller: 0.01, BurstPerCaller: 1}}, b.front.conn, b.front.conn)
	again := (&front{b.front.gateway, s, pages}).browse(b.t, jeanne)
	again.cookies[render.LanguageCookie] = b.cookies[render.LanguageCookie]
	again.get("/aide")
	if !typed {
		return again.get("/aide")
	}
	return again.post(promisedConversation+"/suite", url.Values{"cle": {otherID}, "texte": {written}})
}

// foreign is what a form of another site gets.
func foreign(b *browser) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/preferences", strings.NewReader("langue=fr"))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	return b.do(r)
}

// noPromises are sentences with a word of promiseWords that say nothing of what will happen or
// has happened, with what they are.
var noPromises = map[string]string{
	"Aucun n’est connu, mais seul un audit peut l’établir. Un outil automatique ne voit qu’une partie des critères.": "declared by the fund",
	", dont aucune étape n’a besoin":                                    "declared by the fund",
	"Première réponse donnée":                                           "a status, and one to filter by",
	"Réponse donnée":                                                    "a status",
	"Il vous reste {n} caractère.":                                      "counted by the script as one types",
	"Il vous reste {n} caractères.":                                     "counted by the script as one types",
	"Qui a lu cette conversation":                                       "a link",
	"Qui a lu et fait quoi":                                             "a heading",
	"Service rendu par :":                                               "a label",
	"Je confirme l’effacement définitif de mes données":                 "what the member says",
	"Afficher les conversations masquées":                               "a link",
	"Attend depuis le moins longtemps":                                  "an order to choose",
	"Attend depuis le plus longtemps":                                   "an order to choose",
	"Modifiée le plus récemment":                                        "an order to choose",
	"Choisissez un thème et filtrez pour choisir un sujet ou un motif.": "what to do",
}

// waitFor is a refusal that says how long to wait.
func waitFor(d time.Duration) error {
	st, err := status.New(codes.ResourceExhausted, "").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
	if err != nil {
		panic(err)
	}
	return st.Err()
}
