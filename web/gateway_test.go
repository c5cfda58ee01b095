package web

import (
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/taxonomy"
)

// gateway is a gRPC server in the gateway's place. It answers each method as a test has
// scripted it, and writes down what it was asked.
type gateway struct {
	t    *testing.T
	conn *grpc.ClientConn

	mu      sync.Mutex
	scripts map[string]script
	asked   []asked
	drafts  map[string]*messagingpb.Draft
}

// asked is one call: "MessagingService/GetDraft".
type asked struct {
	method  string
	request proto.Message
	header  metadata.MD
}

// script gives the answers to a request, or refuses it.
type script func(request proto.Message) ([]proto.Message, error)

func answers(messages ...proto.Message) script {
	return func(proto.Message) ([]proto.Message, error) { return messages, nil }
}

func refuses(err error) script {
	return func(proto.Message) ([]proto.Message, error) { return nil, err }
}

// newGateway starts one where all is well: a member with a conversation, and agents with
// a queue. Drafts are kept.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, drafts: make(map[string]*messagingpb.Draft)}
	g.scripts = map[string]script{
		"TaxonomyService/GetTaxonomy":             answers(sampleTree()),
		"TaxonomyService/ResolveSuggestion":       answers(&taxonomypb.ResolveSuggestionResponse{Services: []*taxonomypb.OnlineService{{Code: "paiements", Name: "Consulter mes paiements", Url: "https://services.example.org/paiements", External: true}}}),
		"TaxonomyService/RecordSuggestionOutcome": answers(&taxonomypb.RecordSuggestionOutcomeResponse{}),
		"TaxonomyService/SearchReasons": answers(&taxonomypb.SearchReasonsResponse{Reasons: []*taxonomypb.FoundReason{{
			Theme: &taxonomypb.Theme{Code: "famille", Label: "Famille"}, Topic: &taxonomypb.Topic{Code: "allocations", Label: "Allocations"}, Reason: &taxonomypb.Reason{Code: "absent", Label: "Paiement absent"},
			Matches: []*taxonomypb.Match{{Typed: "virment", Found: "virement", Level: taxonomypb.Depth_REASON}},
		}, {
			Theme: &taxonomypb.Theme{Code: "famille", Label: "Famille"}, Topic: &taxonomypb.Topic{Code: "allocations", Label: "Allocations"}, Reason: &taxonomypb.Reason{Code: "autre", Label: "Autre question"}, Near: true,
		}}}),
		"TaxonomyService/RecordSearch": answers(&taxonomypb.RecordSearchResponse{}),
		"TaxonomyService/GetSearchStatistics": answers(&taxonomypb.GetSearchStatisticsResponse{
			Days: []*taxonomypb.SearchDay{{Date: "2026-11-22", Searches: 3}, {Date: "2026-11-23", Searches: 5, WithoutChoice: 2}}, Words: []*taxonomypb.SearchedWord{{Word: "puma", Searches: 7}},
		}),
		"TaxonomyService/GetSuggestionStatistics": answers(&taxonomypb.GetSuggestionStatisticsResponse{Figures: []*taxonomypb.SuggestionFigures{{Theme: "famille", Service: &taxonomypb.OnlineService{Code: "paiements", Name: "Consulter mes paiements"}, Shown: 4, Followed: 1}}}),

		"MessagingService/ListConversations":    answers(&messagingpb.ListConversationsResponse{Conversations: []*messagingpb.Conversation{sampleConversation()}, NextPageToken: "suite-2", UnreadCount: 3}),
		"MessagingService/GetConversation":      answers(&messagingpb.GetConversationResponse{Conversation: sampleConversation()}),
		"MessagingService/MarkConversationRead": answers(&messagingpb.MarkConversationReadResponse{}),
		"MessagingService/HideConversation":     answers(&messagingpb.HideConversationResponse{}),
		"MessagingService/ShowConversation":     answers(&messagingpb.ShowConversationResponse{}),
		"MessagingService/PostFollowUp":         answers(&messagingpb.PostFollowUpResponse{}),
		"MessagingService/ListDrafts":           answers(&messagingpb.ListDraftsResponse{Drafts: []*messagingpb.Draft{{Id: draftID, Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille", UpdateTime: timestamppb.New(sent), Excerpt: "Bonjour, où en est…"}, {Id: otherID, Audience: taxonomypb.Audience_EXPLOITANT, UpdateTime: timestamppb.New(sent), Excerpt: "Bonjour, où en est…"}}}),
		"MessagingService/GetDraft":             g.getDraft,
		"MessagingService/SaveDraft":            g.saveDraft,
		"MessagingService/DeleteDraft":          answers(&messagingpb.DeleteDraftResponse{}),
		"MessagingService/GetExpectedDelay":     answers(&messagingpb.GetExpectedDelayResponse{Target: &messagingpb.ExpectedDelay{WorkingDays: 3}}),
		"MessagingService/SubmitMessage":        answers(&messagingpb.SubmitMessageResponse{Conversation: waiting(sent), ExpectedDelay: &messagingpb.ExpectedDelay{WorkingDays: 3}}),
		"MessagingService/GetPreferences":       answers(&messagingpb.GetPreferencesResponse{Preferences: &messagingpb.Preferences{Phone: "+33612345678", AccountEmail: "jeanne@example.org", SmsOnAcknowledgement: true, SmsOnReply: true}}),
		"MessagingService/ReplacePreferences":   answers(&messagingpb.ReplacePreferencesResponse{}),
		"MessagingService/ExportMyData":         answers(&messagingpb.ExportMyDataResponse{}, &messagingpb.ExportMyDataResponse{}),
		"MessagingService/EraseMyData":          answers(&messagingpb.EraseMyDataResponse{Conversations: 2}),
		"NotifierService/ListDeliveries":        answers(&notifierpb.ListDeliveriesResponse{Deliveries: sampleDeliveries()}),

		"AgentService/ListConversations":        answers(&messagingpb.AgentServiceListConversationsResponse{Conversations: []*messagingpb.Conversation{sampleConversation()}, NextPageToken: "suite-2"}),
		"AgentService/GetConversation":          answers(&messagingpb.AgentServiceGetConversationResponse{Conversation: sampleForAgent()}),
		"AgentService/FindConversations":        answers(&messagingpb.FindConversationsResponse{Conversations: []*messagingpb.Conversation{sampleConversation()}, NextPageToken: "suite-3"}),
		"AgentService/ListAgents":               answers(&messagingpb.ListAgentsResponse{Agents: []*messagingpb.Agent{{Id: "agents:sofiane", Name: "Sofiane Amrani"}}}),
		"AgentService/AssignConversation":       answers(&messagingpb.AssignConversationResponse{}),
		"AgentService/TakeOverConversation":     answers(&messagingpb.TakeOverConversationResponse{}),
		"AgentService/ListAuditEntries":         answers(sampleAudit()),
		"AgentService/ListQueues":               answers(&messagingpb.ListQueuesResponse{Queues: []*messagingpb.AgentQueue{{Code: "famille", Label: "Service famille", Mine: true, Waiting: 7}, {Code: "retraite", Label: "Service retraite"}}}),
		"AgentService/ListTemplates":            answers(&messagingpb.ListTemplatesResponse{Templates: []*messagingpb.Template{{Id: otherID, Title: "Accusé", Text: "Votre demande {{reference}} du {{date}} : {{theme}}, {{topic}}, {{reason}}."}}}),
		"AgentService/ClaimConversation":        answers(&messagingpb.ClaimConversationResponse{}),
		"AgentService/ReleaseConversation":      answers(&messagingpb.ReleaseConversationResponse{}),
		"AgentService/CloseConversation":        answers(&messagingpb.CloseConversationResponse{}),
		"AgentService/ReopenConversation":       answers(&messagingpb.ReopenConversationResponse{}),
		"AgentService/TransferConversation":     answers(&messagingpb.TransferConversationResponse{}),
		"AgentService/RecategoriseConversation": answers(&messagingpb.RecategoriseConversationResponse{}),
		"AgentService/PostReply":                answers(&messagingpb.PostReplyResponse{}),
		"AgentService/GetDraft":                 refuses(refused(codes.NotFound, "DRAFT_NOT_FOUND", nil)),
		"AgentService/SaveDraft":                answers(&messagingpb.AgentServiceSaveDraftResponse{}),
		"AgentService/DeleteDraft":              answers(&messagingpb.AgentServiceDeleteDraftResponse{}),
		"AgentService/AddNote":                  answers(&messagingpb.AddNoteResponse{}),
		"AgentService/SaveTemplate":             answers(&messagingpb.SaveTemplateResponse{}),
		"AgentService/DeleteTemplate":           answers(&messagingpb.DeleteTemplateResponse{}),
		"AgentService/GetStatistics":            answers(sampleStatistics()),
		"AgentService/ListDeliveries":           answers(&notifierpb.AgentServiceListDeliveriesResponse{Deliveries: sampleDeliveries()}),
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(g.serve))
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	t.Cleanup(func() { server.Stop(); <-done })
	if g.conn, err = grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.conn.Close() })
	return g
}

// serve answers any method, by its script.
func (g *gateway) serve(_ any, stream grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(stream)
	service, method := path.Split(full)
	name := strings.TrimPrefix(path.Ext(strings.TrimSuffix(service, "/")), ".") + "/" + method
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(full, "/"), "/", ".")))
	if err != nil {
		return status.Error(codes.Unimplemented, full)
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(found.(protoreflect.MethodDescriptor).Input().FullName())
	if err != nil {
		return err
	}
	request := kind.New().Interface()
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	header, _ := metadata.FromIncomingContext(stream.Context())
	g.mu.Lock()
	g.asked = append(g.asked, asked{name, request, header})
	answer := g.scripts[name]
	g.mu.Unlock()
	if answer == nil {
		g.t.Errorf("%s is asked for and not scripted", name)
		return status.Error(codes.Unimplemented, name)
	}
	messages, err := answer(request)
	if name == "TaxonomyService/GetTaxonomy" {
		if err := stream.SetHeader(metadata.Pairs("cache-control", "public, max-age=60")); err != nil {
			return err
		}
	}
	for _, message := range messages {
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
	return err
}

func (g *gateway) getDraft(request proto.Message) ([]proto.Message, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	draft := g.drafts[request.(*messagingpb.GetDraftRequest).GetId()]
	if draft == nil {
		return nil, refused(codes.NotFound, "DRAFT_NOT_FOUND", nil)
	}
	return []proto.Message{&messagingpb.GetDraftResponse{Draft: draft}}, nil
}

func (g *gateway) saveDraft(request proto.Message) ([]proto.Message, error) {
	req := request.(*messagingpb.SaveDraftRequest)
	g.keep(&messagingpb.Draft{Id: req.GetId(), Audience: req.GetAudience(), Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason(), Text: req.GetText()})
	return []proto.Message{&messagingpb.SaveDraftResponse{}}, nil
}

// keep puts a draft there.
func (g *gateway) keep(draft *messagingpb.Draft) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drafts[draft.GetId()] = draft
}

// draft is the one of an id, or nil.
func (g *gateway) draft(id string) *messagingpb.Draft {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.drafts[id]
}

// on changes a script.
func (g *gateway) on(method string, answer script) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.scripts[method] == nil {
		g.t.Errorf("no page asks for %s", method)
	}
	g.scripts[method] = answer
}

// calls are the methods asked for since the last look.
func (g *gateway) calls() []asked {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.asked
	g.asked = nil
	return all
}

// names are those calls' methods.
func (g *gateway) names() []string {
	var list []string
	for _, call := range g.calls() {
		list = append(list, call.method)
	}
	return list
}

// one is the request of the only call of a method since the last look.
func one[T proto.Message](t *testing.T, g *gateway, method string) (request T, header metadata.MD) {
	t.Helper()
	found := 0
	for _, call := range g.calls() {
		if call.method == method {
			request, header = call.request.(T), call.header
			found++
		}
	}
	if found != 1 {
		t.Errorf("%s was asked for %d times", method, found)
	}
	return request, header
}

// refused is a refusal in the gateway's form. A field is named in a violation.
func refused(code codes.Code, reason string, details map[string]string, fields ...string) error {
	st := status.New(code, "secret detail")
	info := &errdetails.ErrorInfo{Reason: reason, Metadata: details}
	bad := &errdetails.BadRequest{}
	for _, field := range fields {
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: field, Reason: reason})
	}
	with, err := st.WithDetails(info, bad)
	if err != nil {
		panic(err)
	}
	return with.Err()
}

const (
	draftID        = "0199aaaa-0000-7000-8000-000000000001"
	conversationID = "0199aaaa-0000-7000-8000-000000000002"
	otherID        = "0199aaaa-0000-7000-8000-000000000003"
	lastID         = "0199aaaa-0000-7000-8000-000000000004"
	memberNumber   = "1 84 05 29 019 042 17"
	reference      = "MSA-7K3D92QX"
)

var sent = time.Date(2026, time.November, 23, 9, 30, 0, 0, time.UTC)

func sampleTree() *taxonomypb.GetTaxonomyResponse {
	return &taxonomypb.GetTaxonomyResponse{
		Version: 3, Audience: taxonomypb.Audience_PARTICULIER, Depth: taxonomypb.Depth_REASON, DocumentDepositUrl: "https://depot.example.org",
		TextLimits: &taxonomypb.TextLimits{Min: 10, Max: 750},
		Themes: []*taxonomypb.Theme{
			{Code: "famille", Label: "Famille", Help: "Prestations", Topics: []*taxonomypb.Topic{
				{Code: "allocations", Label: "Allocations", Reasons: []*taxonomypb.Reason{{Code: "absent", Label: "Paiement absent"}, {Code: "retard", Label: "Paiement en retard"}}},
				{Code: "logement", Label: "Logement", Reasons: []*taxonomypb.Reason{{Code: "demande", Label: "Demande"}}},
			}},
			{Code: "retraite", Label: "Retraite", Topics: []*taxonomypb.Topic{{Code: "preparer", Label: "Préparer", Reasons: []*taxonomypb.Reason{{Code: "date", Label: "Date"}}}}},
		},
	}
}

func sampleConversation() *messagingpb.Conversation {
	return &messagingpb.Conversation{
		Id: conversationID, Reference: reference, Audience: taxonomypb.Audience_PARTICULIER, Status: messagingpb.Status_ANSWERED, CreateTime: timestamppb.New(sent), Unread: true,
		Theme: &messagingpb.Choice{Code: "famille", Label: "Famille"}, Topic: &messagingpb.Choice{Code: "allocations", Label: "Allocations"}, Reason: &messagingpb.Choice{Code: "absent", Label: "Paiement absent"},
		Queue: &messagingpb.Choice{Code: "famille", Label: "Service famille"},
		Messages: []*messagingpb.Message{
			{Id: "m1", Author: messagingpb.Author_MEMBER, Text: "Bonjour, <b>rien</b> ne vient.", CreateTime: timestamppb.New(sent)},
			{Id: "m2", Author: messagingpb.Author_AGENT, Text: "C’est réglé.", CreateTime: timestamppb.New(sent.Add(time.Hour))},
			{Id: lastID, Author: messagingpb.Author_AGENT, Text: "Le virement part demain.", CreateTime: timestamppb.New(sent.Add(2 * time.Hour))},
		},
		Steps: []*messagingpb.Step{{Kind: messagingpb.Step_RECEIVED, Time: timestamppb.New(sent)}, {Kind: messagingpb.Step_REPLIED, Time: timestamppb.New(sent.Add(time.Hour))}},
	}
}

// waiting is that conversation before anybody has answered.
func waiting(since time.Time) *messagingpb.Conversation {
	c := sampleConversation()
	c.Status, c.Unread, c.CreateTime, c.Messages = messagingpb.Status_SENT, false, timestamppb.New(since), c.GetMessages()[:1]
	c.ExpectedDelay = &messagingpb.ExpectedDelay{WorkingDays: 3}
	return c
}

// sampleForAgent is that conversation as an agent sees it.
func sampleForAgent() *messagingpb.Conversation {
	c := sampleConversation()
	c.LastMessageId = lastID
	c.Member = &messagingpb.Member{
		Name: "Jeanne Martin", Number: memberNumber, Profile: taxonomypb.Audience_PARTICULIER, Email: messagingpb.Member_CHOSEN, Phone: messagingpb.Member_ABSENT,
	}
	for _, message := range c.GetMessages() {
		message.Writer = &messagingpb.Writer{Kind: messagingpb.Writer_AGENT, Name: "Claire Bernard", AgentId: "agents:claire"}
		if message.GetAuthor() == messagingpb.Author_MEMBER {
			message.Writer = &messagingpb.Writer{Kind: messagingpb.Writer_MEMBER}
		}
	}
	return c
}

func sampleAudit() *messagingpb.ListAuditEntriesResponse {
	return &messagingpb.ListAuditEntriesResponse{
		Entries: []*messagingpb.AuditEntry{
			{Time: timestamppb.New(sent), Action: messagingpb.AuditEntry_READ, AgentId: "agents:claire", Agent: "Claire Bernard", Client: "web", ConversationId: conversationID, Service: "Service famille"},
			{Time: timestamppb.New(sent), Action: messagingpb.AuditEntry_TRANSFER, AgentId: "agents:claire", Agent: "Claire Bernard", Client: "web", ConversationId: conversationID, Service: "Service famille", Target: "retraite"},
			{Time: timestamppb.New(sent), Action: messagingpb.AuditEntry_ERASE, Client: "web", ConversationId: conversationID},
		},
		NextPageToken:  "suite-4",
		UnusualReaders: []*messagingpb.UnusualReader{{AgentId: "agents:sofiane", Agent: "Sofiane Amrani", Readings: 412, Usual: 40}},
	}
}

func sampleDeliveries() []*notifierpb.Delivery {
	return []*notifierpb.Delivery{
		{Purpose: notifierpb.Purpose_REPLY, Channel: notifierpb.Channel_EMAIL, State: notifierpb.DeliveryState_PENDING, UpdateTime: timestamppb.New(sent.Add(3 * time.Hour))},
		{Purpose: notifierpb.Purpose_ACKNOWLEDGEMENT, Channel: notifierpb.Channel_SMS, State: notifierpb.DeliveryState_DELIVERED, UpdateTime: timestamppb.New(sent.Add(time.Minute))},
	}
}

func sampleStatistics() *messagingpb.GetStatisticsResponse {
	return &messagingpb.GetStatisticsResponse{
		Days:    []*messagingpb.DayFigures{{Date: "2026-11-22", Received: 4, Answered: 1}, {Date: "2026-11-23", Received: 2, Answered: 2}},
		Themes:  []*messagingpb.ThemeFigures{{Theme: &messagingpb.Choice{Label: "Famille"}, Received: 4, Answered: 2, OnTime: 1, MedianHours: 72}},
		Answers: &messagingpb.AnswerFigures{Answered: 3, OnTime: 2, MedianHours: 1.5, P90Hours: 96},
	}
}

// front is a front end before a scripted gateway.
type front struct {
	*gateway
	*site
	pages http.Handler
}

func newFront(t *testing.T) *front {
	t.Helper()
	g := newGateway(t)
	s, pages := siteBefore(t, Config{FundName: "Caisse d’Armorique"}, g.conn, g.conn)
	return &front{g, s, pages}
}

// forgetTrees makes the site ask for the taxonomy again.
func (f *front) forgetTrees() {
	f.Trees = taxonomy.NewTrees(taxonomypb.NewTaxonomyServiceClient(f.conn))
}

var (
	jeanne = session.Session{ID: "jeanne", Realm: session.Member, Subject: "members:jeanne", Name: "Jeanne Martin", Profiles: []string{"PARTICULIER"}, Audience: taxonomypb.Audience_PARTICULIER}
	claire = session.Session{ID: "claire", Realm: session.Agent, Subject: "agents:claire", Name: "Claire Bernard", Supervisor: true}
	// sofiane is no supervisor.
	sofiane = session.Session{ID: "sofiane", Realm: session.Agent, Subject: "agents:sofiane", Name: "Sofiane Amrani"}
)

// other is the same person in another session.
func other(who session.Session, id string) session.Session {
	who.ID = id
	return who
}

// browser keeps cookies as a browser does.
type browser struct {
	t       *testing.T
	front   *front
	cookies map[string]string
}

// browse opens a browser in which somebody is signed in.
func (f *front) browse(t *testing.T, who session.Session) *browser {
	t.Helper()
	b := &browser{t: t, front: f, cookies: make(map[string]string)}
	r := signedIn(t, f.site, httptest.NewRequest(http.MethodGet, "/", nil), who)
	for _, cookie := range r.Cookies() {
		b.cookies[cookie.Name] = cookie.Value
	}
	return b
}

func (b *browser) do(r *http.Request) *httptest.ResponseRecorder {
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.front.pages.ServeHTTP(w, r)
	for _, cookie := range w.Result().Cookies() {
		b.cookies[cookie.Name] = cookie.Value
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
		}
	}
	return w
}

// get opens a page.
func (b *browser) get(at string) *httptest.ResponseRecorder {
	return b.do(httptest.NewRequest(http.MethodGet, at, nil))
}

// post sends a form.
func (b *browser) post(at string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, at, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// led checks that an answer leads to an address, and opens that.
func (b *browser) led(w *httptest.ResponseRecorder, to string) *httptest.ResponseRecorder {
	b.t.Helper()
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != to {
		b.t.Fatalf("%d to %q, want %q: %s", w.Code, got, to, text(w))
	}
	return b.get(to)
}

// inline are marks within a sentence.
var inline = regexp.MustCompile(`</?(bdi|span)\b[^>]*>`)

// text is a page's content without its markup, for what a person reads.
func text(w *httptest.ResponseRecorder) string {
	var out strings.Builder
	inside := false
	_, main, _ := strings.Cut(inline.ReplaceAllString(w.Body.String(), ""), "<main")
	for _, r := range "<" + main {
		switch {
		case r == '<':
			inside = true
			out.WriteByte(' ')
		case r == '>' && inside:
			inside = false
		case !inside:
			out.WriteRune(r)
		}
	}
	return html.UnescapeString(strings.Join(strings.Fields(out.String()), " "))
}

// shows checks that a page says what it should.
func (b *browser) shows(w *httptest.ResponseRecorder, code int, says ...string) {
	b.t.Helper()
	if w.Code != code {
		b.t.Errorf("answered %d, want %d: %s", w.Code, code, text(w))
	}
	for _, want := range says {
		if want = strings.Join(strings.Fields(want), " "); !strings.Contains(text(w), want) {
			b.t.Errorf("%q is not on the page: %s", want, text(w))
		}
	}
	if strings.Contains(w.Body.String(), "secret detail") {
		b.t.Error("the page shows what a service says about itself")
	}
}
