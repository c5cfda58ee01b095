package web

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// situation is who does what while the gateway answers so; the page that comes is where it
// leads.
type situation struct {
	name      string
	who       session.Session // jeanne, if not given
	anonymous bool
	on        map[string]script
	drafts    []*messagingpb.Draft
	do        func(*browser) *httptest.ResponseRecorder
}

type on = map[string]script

func opened(at string) func(*browser) *httptest.ResponseRecorder {
	return func(b *browser) *httptest.ResponseRecorder { return b.get(at) }
}

func posted(at string, pairs ...string) func(*browser) *httptest.ResponseRecorder {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return func(b *browser) *httptest.ResponseRecorder { return b.post(at, form) }
}

// looked is the page that an agent's search leads to.
func looked(pairs ...string) func(*browser) *httptest.ResponseRecorder {
	return func(b *browser) *httptest.ResponseRecorder {
		return b.follow(posted("/agent/recherche", pairs...)(b), claire)
	}
}

// found is the page that a search by words leads to.
func found(words string) func(*browser) *httptest.ResponseRecorder {
	return func(b *browser) *httptest.ResponseRecorder {
		return b.follow(b.post("/messagerie/recherche", url.Values{"q": {words}}), jeanne)
	}
}

// The addresses of the states' pages.
const (
	promisedConversation = "/messagerie/conversations/" + conversationID
	promisedForAgent     = "/agent/conversations/" + conversationID
	promisedDraft        = "/messagerie/brouillons/" + draftID
	promisedConfirmation = "/messagerie/confirmation/" + conversationID
)

// forMember answers with the sample conversation, changed.
func forMember(change func(*messagingpb.Conversation)) script {
	return func(proto.Message) ([]proto.Message, error) {
		c := sampleConversation()
		c.Unread = false
		change(c)
		return []proto.Message{&messagingpb.GetConversationResponse{Conversation: c}}, nil
	}
}

// forAgent is the same for an agent.
func forAgent(change func(*messagingpb.Conversation)) script {
	return func(proto.Message) ([]proto.Message, error) {
		c := sampleForAgent()
		change(c)
		return []proto.Message{&messagingpb.AgentServiceGetConversationResponse{Conversation: c}}, nil
	}
}

// erased is a conversation of which little is left to say.
func erased(c *messagingpb.Conversation) {
	c.Status, c.Erased, c.Member, c.Messages = messagingpb.Status_CLOSED, true, nil, []*messagingpb.Message{{Author: messagingpb.Author_MEMBER}}
}

func reached(now *messagingpb.Preferences) script {
	return answers(&messagingpb.GetPreferencesResponse{Preferences: now})
}

var (
	noDelay    = answers(&messagingpb.GetExpectedDelayResponse{})
	away       = refuses(status.Error(codes.Unavailable, ""))
	noMails    = answers(&notifierpb.ListDeliveriesResponse{})
	noMailsOut = answers(&notifierpb.AgentServiceListDeliveriesResponse{})
	twoRoles   = func() session.Session {
		marc := jeanne
		marc.Profiles = []string{"PARTICULIER", "EXPLOITANT"}
		return marc
	}()
)

// states are all situations. Those whose list of promises is long are few; the others differ
// from one of them in what the gateway says.
func states() (all []situation) {
	for _, of := range []func() []situation{confirmations, memberConversations, lists, writings, settings, agentConversations, agentActs, agentLists, sessions} {
		all = append(all, of()...)
	}
	return all
}

func confirmations() (all []situation) {
	send := posted(promisedDraft+"/envoyer", "theme", "famille", "topic", "allocations", "reason", "absent", "version", "3", "texte", written)
	for name, now := range map[string]*messagingpb.Preferences{
		"e-mail, both SMS":          {AccountEmail: "j@example.org", Phone: "+33612345678", SmsOnAcknowledgement: true, SmsOnReply: true},
		"chosen e-mail, SMS off":    {Email: "j@example.org", Phone: "+33612345678"},
		"e-mail, SMS at first only": {Email: "j@example.org", AccountPhone: "+33612345678", SmsOnAcknowledgement: true},
		"e-mail, SMS of reply only": {Email: "j@example.org", Phone: "+33612345678", SmsOnReply: true},
		"e-mail, no number":         {Email: "j@example.org", SmsOnAcknowledgement: true, SmsOnReply: true},
		"no e-mail, both SMS":       {Phone: "+33612345678", SmsOnAcknowledgement: true, SmsOnReply: true},
		"no e-mail, SMS at first":   {Phone: "+33612345678", SmsOnAcknowledgement: true},
		"no e-mail, SMS of reply":   {Phone: "+33612345678", SmsOnReply: true},
		"neither":                   {SmsOnAcknowledgement: true, SmsOnReply: true},
		"an address that is none":   {Email: "@", Phone: "12", SmsOnAcknowledgement: true, SmsOnReply: true},
	} {
		all = append(all, situation{name: "sent: " + name, on: on{"MessagingService/GetPreferences": reached(now), "MessagingService/SubmitMessage": answers(&messagingpb.SubmitMessageResponse{Conversation: waiting(time.Now()), ExpectedDelay: &messagingpb.ExpectedDelay{WorkingDays: 3}})}, do: send})
	}
	again := func(change func(*browser)) func(*browser) *httptest.ResponseRecorder {
		return func(b *browser) *httptest.ResponseRecorder {
			send(b)
			change(b)
			return b.get(promisedConfirmation)
		}
	}
	is := func(c *messagingpb.Conversation) script {
		return answers(&messagingpb.GetConversationResponse{Conversation: c})
	}
	all = append(sortedStates(all), []situation{
		{name: "not sent: reused, and no other draft can be made", on: on{
			"MessagingService/SubmitMessage": refuses(refused(codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", nil)), "MessagingService/SaveDraft": away,
		}, do: send},
		{name: "sent: nobody can tell how the member is reached", on: on{"MessagingService/GetPreferences": away}, do: send},
		{name: "sent: no delay", on: on{"MessagingService/SubmitMessage": answers(&messagingpb.SubmitMessageResponse{Conversation: waiting(time.Now())})}, do: send},
		{name: "sent: loaded again when it is late", do: again(func(*browser) {})},
		{name: "sent: opened later", on: on{"MessagingService/GetConversation": is(waiting(time.Now()))}, do: again(func(b *browser) { delete(b.cookies, receipt.Cookie) })},
		{name: "sent: opened after the answer", do: again(func(b *browser) { delete(b.cookies, receipt.Cookie) })},
		{name: "sent: opened after SMS were switched off", on: on{"MessagingService/GetConversation": is(waiting(time.Now()))}, do: again(func(b *browser) { b.led(b.post("/preferences", url.Values{"langue": {"fr"}}), "/preferences") })},
		{name: "sent: opened after the erasure", on: on{"MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) { c.Status = messagingpb.Status_CLOSED })}, do: again(func(b *browser) {
			b.led(b.post("/donnees-personnelles/effacement", url.Values{"confirmer": {"oui"}}), "/donnees-personnelles")
		})},
	}...)
	for name, err := range map[string]error{
		"too short":                refused(codes.InvalidArgument, "BODY_TOO_SHORT", map[string]string{"limit": "10", "actual": "3"}, "text"),
		"blank":                    refused(codes.InvalidArgument, "BODY_BLANK", nil, "text"),
		"outdated":                 refused(codes.FailedPrecondition, "TAXONOMY_VERSION_OUTDATED", nil),
		"reused":                   refused(codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", nil),
		"away":                     status.Error(codes.Unavailable, ""),
		"a fault":                  status.Error(codes.Internal, ""),
		"too many":                 status.Error(codes.ResourceExhausted, ""),
		"forgotten":                status.Error(codes.Unauthenticated, ""),
		"forbidden to the profile": refused(codes.PermissionDenied, "", nil),
	} {
		all = append(all, situation{name: "not sent: " + name, on: on{"MessagingService/SubmitMessage": refuses(err), "MessagingService/GetExpectedDelay": noDelay}, drafts: []*messagingpb.Draft{selected(written)}, do: send})
	}
	return sortedStates(all)
}

func memberConversations() (all []situation) {
	at := promisedConversation
	for _, s := range []messagingpb.Status{messagingpb.Status_SENT, messagingpb.Status_IN_PROGRESS, messagingpb.Status_PARTLY_ANSWERED, messagingpb.Status_ANSWERED, messagingpb.Status_WAITING_FOR_MEMBER, messagingpb.Status_REOPENED, messagingpb.Status_CLOSED} {
		for when, since := range map[string]time.Time{"": time.Now(), ", late": time.Now().AddDate(0, 0, -30)} {
			all = append(all, situation{name: "conversation: " + s.String() + when, on: on{"NotifierService/ListDeliveries": noMails, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) {
				c.Status, c.CreateTime, c.Steps, c.ExpectedDelay = s, timestamppb.New(since), nil, &messagingpb.ExpectedDelay{WorkingDays: 3}
			})}, do: opened(at)})
		}
	}
	steps := []*messagingpb.Step{}
	for kind := range messagingpb.Step_Kind_name {
		steps = append(steps, &messagingpb.Step{Kind: messagingpb.Step_Kind(kind), Time: timestamppb.New(sent)})
	}
	all = append(all, []situation{
		{name: "conversation: no delay known", on: on{"NotifierService/ListDeliveries": noMails, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) { c.Status, c.Steps = messagingpb.Status_SENT, nil })}, do: opened(at)},
		{name: "conversation: each step", on: on{"NotifierService/ListDeliveries": noMails, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) { c.Steps = steps })}, do: opened(at)},
		{name: "conversation: closed, with a term", on: on{"NotifierService/ListDeliveries": away, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) {
			c.Status, c.Steps, c.ExpireTime = messagingpb.Status_CLOSED, nil, timestamppb.New(sent)
		})}, do: opened(at)},
		{name: "conversation: erased texts", on: on{"NotifierService/ListDeliveries": noMails, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) {
			c.Status, c.Steps, c.Messages = messagingpb.Status_CLOSED, nil, []*messagingpb.Message{{Author: messagingpb.Author_MEMBER}}
		})}, do: opened(at)},
		{name: "conversation: a draft in it", on: on{"NotifierService/ListDeliveries": noMails, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) { c.Steps = nil })}, drafts: []*messagingpb.Draft{{Id: conversationID, Text: written}}, do: opened(at)},
		{name: "follow-up: added", on: on{"NotifierService/ListDeliveries": noMails, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) { c.Steps = nil })}, do: posted(at+"/suite", "cle", otherID, "texte", written)},
		{name: "hidden: done", do: posted(at + "/masquer")},
		{name: "hidden: not, as another tab has saved another text", on: on{"NotifierService/ListDeliveries": noMails, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) { c.Steps = nil }), "MessagingService/SaveDraft": refuses(refused(codes.FailedPrecondition, "DRAFT_CHANGED", nil))}, do: posted(at+"/masquer", "cle", otherID, "texte", written)},
		{name: "hidden: taken back", do: posted(at + "/afficher")},
		{name: "conversation: there is none", on: on{"MessagingService/GetConversation": refuses(status.Error(codes.NotFound, ""))}, do: opened(at)},
	}...)
	for name, err := range map[string]error{
		"closed":    refused(codes.FailedPrecondition, "CONVERSATION_CLOSED", nil),
		"too short": refused(codes.InvalidArgument, "BODY_TOO_SHORT", map[string]string{"limit": "10", "actual": "3"}, "text"),
		"reused":    refused(codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", nil),
		"away":      status.Error(codes.Unavailable, ""),
		"a fault":   status.Error(codes.Internal, ""),
		"too many":  status.Error(codes.ResourceExhausted, ""),
	} {
		now := messagingpb.Status_ANSWERED
		if name == "closed" {
			now = messagingpb.Status_CLOSED
		}
		all = append(all, situation{name: "follow-up: " + name, on: on{"MessagingService/PostFollowUp": refuses(err), "NotifierService/ListDeliveries": noMails, "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) { c.Status, c.Steps = now, nil })}, do: posted(at+"/suite", "cle", otherID, "texte", written)})
	}
	// What left, on each side, and how that ended.
	for s := range notifierpb.DeliveryState_name {
		state := notifierpb.DeliveryState(s)
		for _, reason := range []string{"", "NO_EMAIL", "OUTCOME_UNKNOWN", "RENDER_FAILED"} {
			if reason != "" && (state != notifierpb.DeliveryState_EXPIRED && state != notifierpb.DeliveryState_SUPPRESSED) {
				continue
			}
			for _, purpose := range []notifierpb.Purpose{notifierpb.Purpose_ACKNOWLEDGEMENT, notifierpb.Purpose_REPLY} {
				if purpose == notifierpb.Purpose_ACKNOWLEDGEMENT && reason != "" {
					continue
				}
				list := []*notifierpb.Delivery{{State: state, Reason: reason, Purpose: purpose, Channel: notifierpb.Channel_EMAIL}, {State: state, Reason: reason, Purpose: purpose, Channel: notifierpb.Channel_SMS}}
				name := strings.TrimSpace("delivery: " + purpose.String() + " " + state.String() + " " + reason)
				all = append(all,
					situation{name: name + ", to its member", on: on{"NotifierService/ListDeliveries": answers(&notifierpb.ListDeliveriesResponse{Deliveries: list}), "MessagingService/GetConversation": forMember(func(c *messagingpb.Conversation) { c.Steps = nil })}, do: opened(at)},
					situation{name: name + ", to an agent", who: sofiane, on: on{"AgentService/ListDeliveries": answers(&notifierpb.AgentServiceListDeliveriesResponse{Deliveries: list}), "AgentService/GetConversation": forAgent(erased)}, do: opened(promisedForAgent)})
			}
		}
	}
	return sortedStates(all)
}

func lists() []situation {
	const mine, others = taxonomypb.Audience_PARTICULIER, taxonomypb.Audience_EXPLOITANT
	home := func(name string, who session.Session, next string, all map[taxonomypb.Audience][4]int32) situation {
		return situation{name: "home: " + name, who: who, on: on{"MessagingService/ListConversations": listOf(all, next), "MessagingService/ListDrafts": answers(&messagingpb.ListDraftsResponse{})}, do: opened("/messagerie")}
	}
	half := func(request proto.Message) ([]proto.Message, error) {
		if request.(*messagingpb.ListConversationsRequest).GetHidden() {
			return nil, status.Error(codes.Unavailable, "")
		}
		return []proto.Message{&messagingpb.ListConversationsResponse{}}, nil
	}
	return []situation{
		home("all read", jeanne, "", map[taxonomypb.Audience][4]int32{mine: {2, 0, 0, 0}}),
		home("one unread, listed", jeanne, "", map[taxonomypb.Audience][4]int32{mine: {1, 1, 0, 0}}),
		home("unread under another profile", twoRoles, "", map[taxonomypb.Audience][4]int32{mine: {1, 0, 0, 0}, others: {0, 1, 0, 0}}),
		home("unread among the hidden", jeanne, "", map[taxonomypb.Audience][4]int32{mine: {1, 1, 0, 2}}),
		home("unread among the older", jeanne, "suite", map[taxonomypb.Audience][4]int32{mine: {1, 1, 0, 0}, others: {0, 1, 0, 0}}),
		home("none at all", jeanne, "", nil),
		home("none under this profile", twoRoles, "", map[taxonomypb.Audience][4]int32{others: {2, 0, 0, 0}}),
		home("all hidden", jeanne, "", map[taxonomypb.Audience][4]int32{mine: {0, 0, 2, 0}}),
		{name: "home: drafts", on: on{"MessagingService/ListConversations": listOf(nil, "")}, do: opened("/messagerie")},
		{name: "home: none, and nobody can tell of the hidden", on: on{"MessagingService/ListConversations": half, "MessagingService/ListDrafts": answers(&messagingpb.ListDraftsResponse{})}, do: opened("/messagerie")},
		{name: "home: drafts of two profiles, and of a further message", who: twoRoles, on: on{
			"MessagingService/ListConversations": listOf(nil, ""),
			"MessagingService/ListDrafts": answers(&messagingpb.ListDraftsResponse{Drafts: []*messagingpb.Draft{
				{Id: draftID, Audience: mine, Excerpt: "Bonjour", UpdateTime: timestamppb.New(sent), ExpireTime: timestamppb.New(sent)},
				{Id: otherID, Audience: others, Excerpt: "Bonjour", UpdateTime: timestamppb.New(sent), ExpireTime: timestamppb.New(sent)},
				{Id: conversationID, ConversationId: conversationID, ConversationReference: reference, UpdateTime: timestamppb.New(sent), ExpireTime: timestamppb.New(sent)},
			}}),
		}, do: opened("/messagerie")},
		{name: "home: found", on: on{"MessagingService/ListConversations": listOf(map[taxonomypb.Audience][4]int32{mine: {2, 0, 0, 0}}, "")}, do: opened("/messagerie?q=famille")},
		{name: "home: not found", who: twoRoles, on: on{"MessagingService/ListConversations": listOf(nil, "")}, do: opened("/messagerie?q=rien")},
		{name: "home: found among the hidden", on: on{"MessagingService/ListConversations": listOf(map[taxonomypb.Audience][4]int32{mine: {0, 0, 2, 0}}, "")}, do: opened("/messagerie?masquees=1&q=famille")},
		{name: "home: not found among the hidden", who: twoRoles, on: on{"MessagingService/ListConversations": listOf(nil, "")}, do: opened("/messagerie?masquees=1&q=rien")},
		{name: "home: no hidden ones", on: on{"MessagingService/ListConversations": listOf(nil, "")}, do: opened("/messagerie?masquees=1")},
		{name: "home: a page after the last", on: on{"MessagingService/ListConversations": listOf(nil, "")}, do: opened("/messagerie?suite=x")},
		{name: "home: the service is away", on: on{"MessagingService/ListConversations": away}, do: opened("/messagerie")},
		{name: "search: no word", on: on{"TaxonomyService/SearchReasons": answers(&taxonomypb.SearchReasonsResponse{})}, do: found("?")},
		{name: "search: only what is near", on: on{"TaxonomyService/SearchReasons": answers(&taxonomypb.SearchReasonsResponse{Reasons: []*taxonomypb.FoundReason{{Theme: &taxonomypb.Theme{Code: "famille", Label: "Famille"}, Near: true}}})}, do: found("x")},
		{name: "search: found", do: found("virement")},
	}
}

func writings() []situation {
	at, draft := promisedDraft, []*messagingpb.Draft{selected(written)}
	form := func(step string, more ...string) func(*browser) *httptest.ResponseRecorder {
		return posted(at+"/"+step, append([]string{"theme", "famille", "topic", "allocations", "reason", "absent", "version", "3"}, more...)...)
	}
	save := func(err error) on {
		return on{"MessagingService/SaveDraft": refuses(err), "MessagingService/GetExpectedDelay": noDelay}
	}
	farmers := &messagingpb.Draft{Id: draftID, Audience: taxonomypb.Audience_EXPLOITANT, Theme: "famille", Text: written}
	return []situation{
		{name: "message: delay and usual time known", on: on{"MessagingService/GetExpectedDelay": answers(&messagingpb.GetExpectedDelayResponse{Target: &messagingpb.ExpectedDelay{WorkingDays: 3}, Usual: &messagingpb.ExpectedDelay{WorkingDays: 2}})}, drafts: draft, do: opened(at + "/message")},
		{name: "message: no delay known", on: on{"MessagingService/GetExpectedDelay": noDelay}, drafts: draft, do: opened(at + "/message")},
		{name: "message: a service is offered", on: on{"MessagingService/GetExpectedDelay": noDelay}, drafts: draft, do: posted(at+"/motif", "reason", "retard")},
		{name: "message: too short", on: on{"MessagingService/GetExpectedDelay": noDelay}, drafts: draft, do: form("message", "texte", "Bon")},
		{name: "message: no text came", on: on{"MessagingService/GetExpectedDelay": noDelay}, drafts: draft, do: form("message")},
		{name: "message: changed in another tab", on: save(status.Error(codes.FailedPrecondition, "")), drafts: []*messagingpb.Draft{selected("Un autre texte, d’un autre onglet.")}, do: form("message", "texte", written, "etag", `"x"`)},
		{name: "message: not to be stored", on: save(status.Error(codes.InvalidArgument, "")), drafts: draft, do: form("message", "texte", written)},
		{name: "message: the service is away", on: save(status.Error(codes.Unavailable, "")), drafts: draft, do: form("message", "texte", written)},
		{name: "recap", drafts: draft, do: opened(at + "/recapitulatif")},
		{name: "draft: gone", do: opened(at + "/recapitulatif")},
		{name: "draft: deleted", on: on{"MessagingService/ListDrafts": answers(&messagingpb.ListDraftsResponse{}), "MessagingService/ListConversations": listOf(nil, "")}, do: posted(at + "/supprimer")},
		{name: "draft: of another profile", who: twoRoles, drafts: []*messagingpb.Draft{farmers}, do: opened(at + "/recapitulatif")},
		{name: "draft: sent from a page of another profile", who: twoRoles, do: form("message", "texte", written, "profil", "EXPLOITANT")},
		{name: "profile: changed from the recap", who: twoRoles, drafts: draft, do: opened("/profil?retour=" + at + "/recapitulatif")},
		{name: "profile: changed from the recap of a draft that is gone", who: twoRoles, do: opened("/profil?retour=" + at + "/recapitulatif")},
		{name: "profile: changed from the head", who: twoRoles, do: opened("/profil")},
		{name: "profile: none", who: func() session.Session { nobody := jeanne; nobody.Profiles, nobody.Audience = nil, 0; return nobody }(), do: opened("/profil")},
		{name: "question: the theme", do: opened("/messagerie/nouveau")},
		{name: "question: no answer", drafts: draft, do: posted(at + "/motif")},
	}
}

func settings() []situation {
	prefer := func(name string, now *messagingpb.Preferences) situation {
		return situation{name: "preferences: " + name, on: on{"MessagingService/GetPreferences": reached(now)}, do: opened("/preferences")}
	}
	return []situation{
		prefer("no address, no number", &messagingpb.Preferences{}),
		prefer("of the account, SMS off", &messagingpb.Preferences{AccountEmail: "j@example.org", AccountPhone: "+33612345678"}),
		prefer("chosen, SMS on", &messagingpb.Preferences{Email: "j@example.org", Phone: "+33612345678", SmsOnAcknowledgement: true, SmsOnReply: true}),
		{name: "preferences: saved", do: posted("/preferences", "langue", "fr")},
		{name: "preferences: another language while typing", do: func(b *browser) *httptest.ResponseRecorder {
			return posted("/preferences", "email", "j@example.org", "vers", b.cookies[render.LanguageCookie]+"/preferences")(b)
		}},
		{name: "preferences: no address", on: on{"MessagingService/ReplacePreferences": refuses(refused(codes.InvalidArgument, "EMAIL_INVALID", nil, "preferences.email"))}, do: posted("/preferences", "email", "j")},
		{name: "preferences: an address that is not ASCII", on: on{"MessagingService/ReplacePreferences": refuses(refused(codes.InvalidArgument, "EMAIL_NOT_ASCII", nil, "preferences.email"))}, do: posted("/preferences", "email", "é@example.org")},
		{name: "preferences: an address that no mail reaches", on: on{"MessagingService/ReplacePreferences": refuses(refused(codes.InvalidArgument, "EMAIL_UNREACHABLE", nil, "preferences.email"))}, do: posted("/preferences", "email", "j@example.con")},
		{name: "preferences: a fixed number", on: on{"MessagingService/ReplacePreferences": refuses(refused(codes.InvalidArgument, "PHONE_NOT_MOBILE", nil, "preferences.phone"))}, do: posted("/preferences", "telephone", "0142345678")},
		{name: "preferences: a number abroad", on: on{"MessagingService/ReplacePreferences": refuses(refused(codes.InvalidArgument, "PHONE_COUNTRY_UNSUPPORTED", nil, "preferences.phone"))}, do: posted("/preferences", "telephone", "+41791234567")},
		{name: "preferences: an account that cannot be reached", on: on{"MessagingService/GetPreferences": answers(&messagingpb.GetPreferencesResponse{Preferences: unreached})}, do: opened("/preferences")},
		{name: "preferences: the service is away", on: on{"MessagingService/ReplacePreferences": away}, do: posted("/preferences", "email", "j@example.org")},
		{name: "handed back: on another page until it is sent", do: func(b *browser) *httptest.ResponseRecorder {
			held := b.cookies[session.Cookie]
			form := formsOf(b.t, b.get("/messagerie/conversations/"+conversationID))[0]
			form.values.Set("texte", written)
			delete(b.cookies, session.Cookie)
			b.post(form.action, form.values)
			b.cookies[session.Cookie] = held
			return b.get("/aide")
		}},
		{name: "personal data", do: opened("/donnees-personnelles")},
		{name: "erasure: not confirmed", do: posted("/donnees-personnelles/effacement")},
		{name: "erasure: done", do: posted("/donnees-personnelles/effacement", "confirmer", "oui")},
		{name: "erasure: of one", on: on{"MessagingService/EraseMyData": answers(&messagingpb.EraseMyDataResponse{Conversations: 1})}, do: posted("/donnees-personnelles/effacement", "confirmer", "oui")},
		{name: "help", do: opened("/aide")},
		{name: "legal notice", anonymous: true, do: opened("/mentions-legales")},
		{name: "accessibility", anonymous: true, do: opened("/accessibilite")},
		{name: "space", do: opened("/espace")},
		{name: "space: contact", do: opened("/espace/contact")},
		{name: "space: messages", do: opened("/espace/messages")},
	}
}
