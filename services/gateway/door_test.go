package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
)

var (
	everybody = []string{"nobody", "member", "agent", "supervisor", "operator", "crm", "service", "false agent", "garbage", "wrong audience", "lapsed"}
	members   = []string{"member", "false agent"}
	staff     = []string{"agent", "supervisor", "crm"}
	operators = []string{"operator"}
	// They have the scope by name, or need none.
	finders = []string{"supervisor", "crm"}
	// A supervisor's methods are the supervisor's alone.
	supervisors = []string{"supervisor"}
)

// admitted is who may call what from outside. A method of the contract without a
// row fails TestEveryMethodHasARow.
var admitted = map[string][]string{
	"/messagerie.taxonomy.v1.TaxonomyService/GetTaxonomy":             everybody,
	"/messagerie.taxonomy.v1.TaxonomyService/ResolveSuggestion":       everybody,
	"/messagerie.taxonomy.v1.CatalogueService/GetCatalogue":           nil,
	"/messagerie.messaging.v1.RecipientService/BatchGetRecipients":    nil,
	"/messagerie.messaging.v1.MessagingService/SubmitMessage":         members,
	"/messagerie.messaging.v1.MessagingService/ListConversations":     members,
	"/messagerie.messaging.v1.MessagingService/GetConversation":       members,
	"/messagerie.messaging.v1.MessagingService/HideConversation":      members,
	"/messagerie.messaging.v1.MessagingService/ShowConversation":      members,
	"/messagerie.messaging.v1.MessagingService/MarkConversationRead":  members,
	"/messagerie.messaging.v1.AgentService/ListConversations":         staff,
	"/messagerie.messaging.v1.AgentService/GetConversation":           staff,
	"/messagerie.messaging.v1.AgentService/ClaimConversation":         staff,
	"/messagerie.messaging.v1.AgentService/ReleaseConversation":       staff,
	"/messagerie.messaging.v1.AgentService/PostReply":                 staff,
	"/messagerie.messaging.v1.AgentService/CloseConversation":         staff,
	"/messagerie.messaging.v1.MessagingService/PostFollowUp":          members,
	"/messagerie.messaging.v1.MessagingService/SaveDraft":             members,
	"/messagerie.messaging.v1.MessagingService/GetDraft":              members,
	"/messagerie.messaging.v1.MessagingService/ListDrafts":            members,
	"/messagerie.messaging.v1.MessagingService/DeleteDraft":           members,
	"/messagerie.messaging.v1.MessagingService/WatchConversations":    members,
	"/messagerie.messaging.v1.MessagingService/CreateWatchTicket":     append(members, staff...),
	"/messagerie.messaging.v1.MessagingService/GetPreferences":        members,
	"/messagerie.messaging.v1.MessagingService/ReplacePreferences":    members,
	"/messagerie.messaging.v1.MessagingService/UpdatePreferences":     members,
	"/messagerie.messaging.v1.MessagingService/GetExpectedDelay":      members,
	"/messagerie.messaging.v1.MessagingService/ExportMyData":          members,
	"/messagerie.messaging.v1.MessagingService/EraseMyData":           members,
	"/messagerie.messaging.v1.AgentService/FindConversations":         finders,
	"/messagerie.messaging.v1.AgentService/AssignConversation":        staff,
	"/messagerie.messaging.v1.AgentService/TakeOverConversation":      supervisors,
	"/messagerie.messaging.v1.AgentService/ListAgents":                staff,
	"/messagerie.messaging.v1.AgentService/ListAuditEntries":          supervisors,
	"/messagerie.messaging.v1.AgentService/TransferConversation":      staff,
	"/messagerie.messaging.v1.AgentService/RecategoriseConversation":  staff,
	"/messagerie.messaging.v1.AgentService/ReopenConversation":        staff,
	"/messagerie.messaging.v1.AgentService/AddNote":                   staff,
	"/messagerie.messaging.v1.AgentService/SaveDraft":                 staff,
	"/messagerie.messaging.v1.AgentService/GetDraft":                  staff,
	"/messagerie.messaging.v1.AgentService/ListDrafts":                staff,
	"/messagerie.messaging.v1.AgentService/DeleteDraft":               staff,
	"/messagerie.messaging.v1.AgentService/HoldConversation":          supervisors,
	"/messagerie.messaging.v1.AgentService/UnholdConversation":        supervisors,
	"/messagerie.messaging.v1.AgentService/ListQueues":                staff,
	"/messagerie.messaging.v1.AgentService/ListTemplates":             staff,
	"/messagerie.messaging.v1.AgentService/GetStatistics":             staff,
	"/messagerie.messaging.v1.AgentService/WatchConversations":        staff,
	"/messagerie.messaging.v1.AgentService/SaveTemplate":              supervisors,
	"/messagerie.messaging.v1.AgentService/DeleteTemplate":            supervisors,
	"/messagerie.taxonomy.v1.TaxonomyService/SearchReasons":           everybody,
	"/messagerie.taxonomy.v1.TaxonomyService/RecordSuggestionOutcome": members,
	"/messagerie.taxonomy.v1.TaxonomyService/GetSuggestionStatistics": staff,
	"/messagerie.taxonomy.v1.TaxonomyService/RecordSearch":            members,
	"/messagerie.taxonomy.v1.TaxonomyService/GetSearchStatistics":     supervisors,
	"/messagerie.messaging.v1.RecipientService/CheckReader":           nil,
	"/messagerie.messaging.v1.EventLogService/ListDigests":            nil,
	"/messagerie.messaging.v1.EventLogService/ListEvents":             nil,
	"/messagerie.notifier.v1.NotifierService/ListDeliveries":          members,
	"/messagerie.notifier.v1.AgentService/ListDeliveries":             staff,
	"/messagerie.notifier.v1.OperatorService/ListDeadLetters":         operators,
	"/messagerie.notifier.v1.OperatorService/ReplayDeadLetters":       operators,
	"/messagerie.notifier.v1.OperatorService/DropDeadLetter":          operators,
	"/messagerie.taxonomy.v1.OperatorService/GetStatus":               operators,
	"/messagerie.messaging.v1.OperatorService/GetStatus":              operators,
	"/messagerie.messaging.v1.OperatorService/ListRefusedEvents":      operators,
	"/messagerie.messaging.v1.OperatorService/RequeueRefusedEvents":   operators,
	"/messagerie.messaging.v1.OperatorService/DropRefusedEvent":       operators,
	"/messagerie.messaging.v1.OperatorService/GetKeys":                operators,
	"/messagerie.messaging.v1.OperatorService/RewrapKeys":             operators,
	"/messagerie.messaging.v1.OperatorService/ReconcileKeys":          operators,
	"/messagerie.notifier.v1.OperatorService/GetStatus":               operators,
	// The gateway calls these itself, for the providers.
	"/messagerie.notifier.v1.WebhookService/ReportSendGrid": nil,
	"/messagerie.notifier.v1.WebhookService/ReportTwilio":   nil,
}

const anID = "0199f0b2-0000-7000-8000-000000000000"

func TestEveryMethodHasARow(t *testing.T) {
	t.Parallel()
	inContract := make(map[string]bool)
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				if strings.HasPrefix(string(service.FullName()), "messagerie.") {
					inContract[fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name())] = true
				}
			}
		}
		return true
	})
	for method := range inContract {
		if _, ok := admitted[method]; !ok {
			t.Errorf("%s has no row in the table", method)
		}
	}
	for method := range admitted {
		if !inContract[method] {
			t.Errorf("%s has a row and is not in the contract", method)
		}
	}
}

// TestAdmission calls every method as everybody in both protocols. A call counts
// as admitted when it arrives at the service, whatever the service says to it.
func TestAdmission(t *testing.T) {
	t.Parallel()
	s := start(t)
	routes, err := readRoutes(forwarded, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	unauthenticated := []string{"nobody", "garbage", "wrong audience", "lapsed"}
	for method, callers := range admitted {
		for _, caller := range everybody {
			want := codes.PermissionDenied
			switch {
			case callers == nil:
				want = codes.Unimplemented
			case slices.Contains(callers, caller):
				want = codes.OK
			case slices.Contains(unauthenticated, caller):
				want = codes.Unauthenticated
			}
			err := s.grpc.Invoke(s.as(t, caller), method, &emptypb.Empty{}, &emptypb.Empty{})
			s.checkAdmission(t, "gRPC "+method+" as "+caller, want, status.Code(err))
			rt := routes[method]
			if rt == nil {
				continue
			}
			for _, form := range rt.Forms() {
				path := strings.NewReplacer("{id}", anID, "{conversation_id}", anID).Replace(form.Path)
				got := s.rest(t, caller, form.Verb, path, "")
				s.checkAdmission(t, form.Verb+" "+path+" as "+caller, want, codeOf(t, got))
				if want == codes.Unauthenticated && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
					t.Errorf("%s as %s: WWW-Authenticate %q", path, caller, got.header.Get("WWW-Authenticate"))
				}
			}
		}
	}
}

func codeOf(t *testing.T, r reply) codes.Code {
	t.Helper()
	if r.code == http.StatusOK {
		return codes.OK
	}
	return r.status(t).Code()
}

func (s *stack) checkAdmission(t *testing.T, call string, want, got codes.Code) {
	t.Helper()
	arrived := len(s.take())
	switch {
	case want == codes.OK && arrived != 1:
		t.Errorf("%s: %s, arrived %d times, want once", call, got, arrived)
	case want != codes.OK && (got != want || arrived != 0):
		t.Errorf("%s: %s, arrived %d times, want %s", call, got, arrived, want)
	}
}

func TestUnknownMethodsAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, method := range []string{
		"messagerie.messaging.v1.MessagingService/ListConversations",
		"//messagerie.messaging.v1.MessagingService/ListConversations",
		"/messagerie.messaging.v1.MessagingService/ListConversations/",
		"/messagerie.messaging.v1.MessagingService//ListConversations",
		"/messagerie.messaging.v1.MessagingService/listConversations",
		"/messagerie.messaging.v1.MessagingService/Nothing",
		"/messagerie.messaging.v1.MessagingService/",
		"/messagerie.messaging.v1.Nothing/ListConversations",
		"/x/../messagerie.messaging.v1.MessagingService/ListConversations",
		"/", "/x", "x",
	} {
		err := s.grpc.Invoke(s.as(t, "member"), method, &emptypb.Empty{}, &emptypb.Empty{})
		s.checkAdmission(t, method, codes.Unimplemented, status.Code(err))
	}
}

// delay is how long a refusal asks to wait.
func delay(st *status.Status) time.Duration {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) {
		cfg.RatePerCaller, cfg.BurstPerCaller = 0.01, 2
		cfg.RatePerAddress, cfg.BurstPerAddress = 0.01, 2
	})
	const list = "/messagerie.messaging.v1.MessagingService/ListConversations"
	call := func(caller string) error {
		return s.grpc.Invoke(s.as(t, caller), list, &emptypb.Empty{}, &emptypb.Empty{})
	}
	// One bucket for both protocols.
	if err := call("member"); err != nil {
		t.Fatal(err)
	}
	if got := s.rest(t, "member", "GET", "/v1/conversations", ""); got.code != http.StatusOK {
		t.Fatalf("second call: %d %s", got.code, got.body)
	}
	err := call("member")
	st := status.Convert(err)
	if st.Code() != codes.ResourceExhausted || answer.ReasonOf(st) != errorpb.ErrorReason_RATE_LIMITED || delay(st) <= time.Second {
		t.Errorf("third call: %v, wait %s", err, delay(st))
	}
	got := s.rest(t, "member", "GET", "/v1/conversations", "")
	if got.code != http.StatusTooManyRequests || answer.ReasonOf(got.status(t)) != errorpb.ErrorReason_RATE_LIMITED {
		t.Errorf("fourth call: %d %s", got.code, got.body)
	}
	if after := got.header.Get("Retry-After"); after == "" || after == "0" {
		t.Errorf("Retry-After is %q", after)
	}
	// Another caller has another bucket; tokens that are not believed share the
	// address's, and cannot use up a caller's.
	if err := s.grpc.Invoke(s.as(t, "agent"), "/messagerie.messaging.v1.AgentService/ListConversations", &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Errorf("another caller: %v", err)
	}
	var refusals []codes.Code
	for _, caller := range []string{"garbage", "nobody", "garbage"} {
		refusals = append(refusals, status.Code(call(caller)))
	}
	if want := []codes.Code{codes.Unauthenticated, codes.Unauthenticated, codes.ResourceExhausted}; !slices.Equal(refusals, want) {
		t.Errorf("strangers: %v, want %v", refusals, want)
	}
}

func TestForwardedServicesAreDescribed(t *testing.T) {
	t.Parallel()
	routes, err := readRoutes(forwarded, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for method, callers := range admitted {
		if callers != nil {
			open = append(open, method)
		}
	}
	slices.Sort(open)
	if got := slices.Sorted(maps.Keys(routes)); !slices.Equal(got, open) {
		t.Errorf("routes are\n%v\nwant\n%v", got, open)
	}
}

// What cannot be answered in time is refused at once, in both protocols, and told
// when to come again; what was admitted is answered.
func TestOverload(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.MaxConcurrent = 2 })
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	s.submit = func(ctx context.Context, _ *messagingpb.SubmitMessageRequest) (*messagingpb.SubmitMessageResponse, error) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return &messagingpb.SubmitMessageResponse{}, ctx.Err()
	}
	const submit = "/messagerie.messaging.v1.MessagingService/SubmitMessage"
	answers := make(chan error, 2)
	for range 2 {
		go func() {
			answers <- s.grpc.Invoke(s.as(t, "member"), submit, &messagingpb.SubmitMessageRequest{
				Audience: taxonomypb.Audience_PARTICULIER, Theme: "t", TaxonomyVersion: 1, Text: "Bonjour, une question.",
			}, &messagingpb.SubmitMessageResponse{})
		}()
	}
	for range 2 {
		<-arrived
	}
	const list = "/messagerie.messaging.v1.MessagingService/ListConversations"
	st := status.Convert(s.grpc.Invoke(s.as(t, "member"), list, &emptypb.Empty{}, &emptypb.Empty{}))
	if st.Code() != codes.Unavailable || answer.ReasonOf(st) != errorpb.ErrorReason_OVERLOADED || delay(st) < time.Second {
		t.Errorf("gRPC: %v, wait %s", st, delay(st))
	}
	got := s.rest(t, "member", "GET", "/v1/conversations", "")
	if got.code != http.StatusServiceUnavailable || answer.ReasonOf(got.status(t)) != errorpb.ErrorReason_OVERLOADED || got.header.Get("Retry-After") == "" {
		t.Errorf("REST: %d %s, Retry-After %q", got.code, got.body, got.header.Get("Retry-After"))
	}
	close(release)
	for range 2 {
		if err := <-answers; err != nil {
			t.Errorf("what was admitted: %v", err)
		}
	}
	if err := s.grpc.Invoke(s.as(t, "member"), list, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A stream takes a slot until it ends, and no longer.
func TestOverload_Streams(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.MaxStreams = 1 })
	s.watch = func(ctx context.Context, send func(*messagingpb.WatchConversationsResponse) error) error {
		_ = send(&messagingpb.WatchConversationsResponse{})
		<-ctx.Done()
		return ctx.Err()
	}
	client := messagingpb.NewMessagingServiceClient(s.grpc)
	open := func() (end func(), err error) {
		ctx, end := context.WithCancel(s.as(t, "member"))
		watch, err := client.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
		if err == nil {
			_, err = watch.Recv()
		}
		return end, err
	}
	end, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(); answer.ReasonOf(status.Convert(err)) != errorpb.ErrorReason_OVERLOADED {
		t.Errorf("beside another: %v", err)
	}
	end()
	for err = errors.New("none yet"); err != nil && t.Context().Err() == nil; {
		if _, err = open(); err != nil && answer.ReasonOf(status.Convert(err)) != errorpb.ErrorReason_OVERLOADED {
			t.Fatalf("after the end of the other: %v", err)
		}
	}
}
