package rpc

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"golang.org/x/text/language"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
)

// Each reason says when it comes, with which code, what to do, and the same to people in
// both languages.
func TestMeanings(t *testing.T) {
	t.Parallel()
	placeholder := regexp.MustCompile(`\{\w+\}`)
	for number, name := range errorpb.ErrorReason_name {
		if number == 0 {
			continue
		}
		meaning := MeaningOf(errorpb.ErrorReason(number))
		if len(meaning.GetCodes()) == 0 || meaning.GetWhen() == "" || meaning.GetRemedy() == "" || meaning.GetFr() == "" || meaning.GetEn() == "" {
			t.Errorf("%s lacks something: %v", name, meaning)
		}
		for _, text := range meaning.GetCodes() {
			var code codes.Code
			if err := code.UnmarshalJSON([]byte(`"` + text + `"`)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		fr, en := placeholder.FindAllString(meaning.GetFr(), -1), placeholder.FindAllString(meaning.GetEn(), -1)
		slices.Sort(fr)
		slices.Sort(en)
		if !slices.Equal(fr, en) {
			t.Errorf("%s: %v in French, %v in English", name, fr, en)
		}
		for _, text := range []string{meaning.GetFr(), meaning.GetEn()} {
			if !strings.HasSuffix(text, ".") || strings.Contains(text, "'") && text == meaning.GetFr() {
				t.Errorf("%s: %q is no sentence as we print them", name, text)
			}
		}
	}
}

// A value is filled in as it is, whatever placeholder it looks like.
func TestSpell(t *testing.T) {
	t.Parallel()
	for range 20 { // maps have no order
		values := map[string]string{"variable": "{{known}} {variable}", "known": "{variable}, {date}"}
		const want = "{{known}} {variable} is not a variable. The variables are {variable}, {date}."
		if got := spell(errorpb.ErrorReason_TEMPLATE_VARIABLE_UNKNOWN, language.English, values); got != want {
			t.Fatalf("%q", got)
		}
	}
}

func TestLanguageOf(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]string{
		"": "fr", "fr": "fr", "en": "en", "en-US,fr;q=0.5": "en", "fr-CA, en;q=0.9": "fr", "de": "fr", "de, en;q=0.5": "en", "*": "fr", "en;q=x": "fr", "de;q=0.9, fr;q=0.1, en;q=0.2": "en",
	} {
		if got := languageOf(WithLanguage(t.Context(), asked)); got.String() != want {
			t.Errorf("%q: %s, want %s", asked, got, want)
		}
	}
}

func TestHTTPStatus(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		code   codes.Code
		reason errorpb.ErrorReason
		want   int
	}{
		{codes.InvalidArgument, errorpb.ErrorReason_REQUIRED, 400},
		{codes.FailedPrecondition, errorpb.ErrorReason_CLAIM_HELD, 409},
		{codes.FailedPrecondition, errorpb.ErrorReason_CONVERSATION_CHANGED, 412},
		{codes.FailedPrecondition, errorpb.ErrorReason_CAISSE_UNKNOWN, 403},
		{codes.AlreadyExists, errorpb.ErrorReason_IDEMPOTENCY_KEY_REUSED, 409},
		{codes.ResourceExhausted, errorpb.ErrorReason_RATE_LIMITED, 429},
		{codes.ResourceExhausted, errorpb.ErrorReason_REQUEST_TOO_LARGE, 413},
		{codes.Unimplemented, errorpb.ErrorReason_HTTP_METHOD_NOT_ALLOWED, 405},
		{codes.DeadlineExceeded, errorpb.ErrorReason_DEADLINE_EXCEEDED, 504},
		{codes.Unknown, 0, 500},
	} {
		if got := HTTPStatus(row.code, row.reason); got != row.want {
			t.Errorf("%s %s: %d, want %d", row.code, row.reason, got, row.want)
		}
	}
}

// All faults of a request are told at once: of the key, of strings, of the message's rules,
// and those that a handler knows of; of each field the first.
func TestInput_AllAtOnce(t *testing.T) {
	t.Parallel()
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	in := &input{validator: validator, checks: make(map[protoreflect.FullName]func(context.Context, proto.Message) []Violation)}
	s := &Server{input: in}
	asked := 0
	AlsoCheck(s, func(_ context.Context, req *messagingpb.SubmitMessageRequest) []Violation {
		asked++
		return []Violation{{Field: "theme", Reason: errorpb.ErrorReason_THEME_UNKNOWN}, {Field: "text", Reason: errorpb.ErrorReason_BODY_TOO_SHORT}}
	})
	_, badKey := parseKey(nil)
	ctx := context.WithValue(t.Context(), keyContext{}, badKey)
	err = in.check(ctx, &messagingpb.SubmitMessageRequest{Topic: "a\nb", Text: "x", TaxonomyVersion: 1})
	var found []string
	for _, fault := range FaultsOf(err) {
		found = append(found, fault.Field+" "+fault.Reason.String())
	}
	want := []string{"idempotency-key IDEMPOTENCY_KEY_REQUIRED", "topic CONTROL_CHARACTERS", "audience REQUIRED", "theme REQUIRED", "text BODY_TOO_SHORT"}
	if !slices.Equal(found, want) {
		t.Errorf("got %v, want %v", found, want)
	}
	good := &messagingpb.SubmitMessageRequest{Audience: 1, Theme: "x", Text: "x", TaxonomyVersion: 1}
	if err := in.check(t.Context(), good); err != nil || asked != 1 {
		t.Errorf("a message that keeps its rules: %v, looked at %d times: its handler does", err, asked)
	}
	list := &messagingpb.ListConversationsRequest{PageSize: -1, PageToken: "zz"}
	found = nil
	for _, fault := range FaultsOf(in.check(t.Context(), list)) {
		found = append(found, fault.Field+" "+fault.Reason.String())
	}
	if want := []string{"pageSize OUT_OF_RANGE", "pageToken PAGE_TOKEN_INVALID"}; !slices.Equal(found, want) {
		t.Errorf("got %v, want %v", found, want)
	}
}

// Of a request that could be read in part, the rest is looked at, and it is refused in any
// case. What was not read is no news further down, and a page token is judged by filters that
// are whole alone.
func TestInput_Unread(t *testing.T) {
	t.Parallel()
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	in := &input{validator: validator}
	const unknown, misfit = errorpb.ErrorReason_PARAMETER_UNKNOWN, errorpb.ErrorReason_VALUE_INVALID
	token := PageToken(t.Context(), &messagingpb.ListConversationsRequest{Hidden: true}, []byte("key"))
	for name, row := range map[string]struct {
		unread []Violation
		req    proto.Message
		want   []string
	}{
		"nothing else":    {[]Violation{{Field: "debug", Reason: unknown}}, &messagingpb.ListConversationsRequest{}, []string{"debug PARAMETER_UNKNOWN"}},
		"no news":         {[]Violation{{Field: "theme", Reason: misfit}}, &messagingpb.SubmitMessageRequest{Audience: 1}, []string{"theme VALUE_INVALID"}},
		"no news within":  {[]Violation{{Field: "filter", Reason: misfit}}, &notifierpb.ReplayDeadLettersRequest{Filter: &notifierpb.DeadLetterFilter{Reason: "\x00"}}, []string{"filter VALUE_INVALID"}},
		"a good token":    {[]Violation{{Field: "debug", Reason: unknown}}, &messagingpb.ListConversationsRequest{Hidden: true, PageToken: token}, []string{"debug PARAMETER_UNKNOWN"}},
		"a bad token":     {[]Violation{{Field: "debug", Reason: unknown}}, &messagingpb.ListConversationsRequest{PageToken: token}, []string{"debug PARAMETER_UNKNOWN", "pageToken PAGE_TOKEN_INVALID"}},
		"a filter unread": {[]Violation{{Field: "hidden", Reason: misfit}}, &messagingpb.ListConversationsRequest{PageToken: token}, []string{"hidden VALUE_INVALID"}},
	} {
		md := metadata.MD{}
		MarkUnread(md, row.req, row.unread)
		var got []string
		for _, fault := range FaultsOf(in.check(metadata.NewIncomingContext(t.Context(), md), row.req)) {
			got = append(got, fault.Field+" "+fault.Reason.String())
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
	marked := &messagingpb.ListConversationsRequest{}
	MarkUnread(metadata.MD{}, marked, nil)
	if err := in.check(t.Context(), marked); !errors.Is(err, errUnreadable) {
		t.Errorf("a mark without its metadata: %v", err)
	}
}
