package messaging

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// faultsOf are the violations of a refusal, each as "field REASON".
func faultsOf(err error) (list []string) {
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				list = append(list, v.GetField()+" "+v.GetReason())
			}
		}
	}
	return list
}

// The caller gets all faults at once, whatever finds them: rules of the message, the handler, the taxonomy, or what looks at headers.
func TestFaults_AllAtOnce(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	sent := jeanne.submit(t)
	long := strings.Repeat("a", 65)
	wrong := &messagingpb.SubmitMessageRequest{Audience: taxonomypb.Audience_PARTICULIER, TaxonomyVersion: 1, Theme: "nulle-part", Text: "x"}
	for name, row := range map[string]struct {
		err  error
		want []string
	}{
		"a submission": {
			second(s.messaging.SubmitMessage(jeanne.call(t), wrong)),
			[]string{"idempotency-key IDEMPOTENCY_KEY_REQUIRED", "theme THEME_UNKNOWN", "text BODY_TOO_SHORT"},
		},
		"its handler's alone": {
			second(s.messaging.SubmitMessage(jeanne.call(t, "0199f0b2-0000-7000-8000-000000000001"), wrong)),
			[]string{"theme THEME_UNKNOWN", "text BODY_TOO_SHORT"},
		},
		"nothing given": {
			second(s.messaging.SubmitMessage(jeanne.call(t), &messagingpb.SubmitMessageRequest{})),
			[]string{"idempotency-key IDEMPOTENCY_KEY_REQUIRED", "audience REQUIRED", "theme REQUIRED", "taxonomyVersion TAXONOMY_VERSION_REQUIRED", "text BODY_TOO_SHORT"},
		},
		"a follow-up": {
			second(s.messaging.PostFollowUp(jeanne.call(t), &messagingpb.PostFollowUpRequest{Id: "zz", Text: " "})),
			[]string{"idempotency-key IDEMPOTENCY_KEY_REQUIRED", "id UUID_INVALID", "text BODY_TOO_SHORT"},
		},
		"a reply": {
			second(s.agent.PostReply(claire.call(t), &messagingpb.PostReplyRequest{Id: "zz"})),
			[]string{"idempotency-key IDEMPOTENCY_KEY_REQUIRED", "id UUID_INVALID", "text BODY_TOO_SHORT", "lastMessageId LAST_MESSAGE_REQUIRED"},
		},
		"a note": {
			second(s.agent.AddNote(claire.call(t), &messagingpb.AddNoteRequest{Id: "zz"})),
			[]string{"idempotency-key IDEMPOTENCY_KEY_REQUIRED", "id UUID_INVALID", "text BODY_TOO_SHORT"},
		},
		"a transfer": {
			second(s.agent.TransferConversation(claire.call(t), &messagingpb.TransferConversationRequest{Id: "zz", Queue: "nulle-part"})),
			[]string{"id UUID_INVALID", "queue QUEUE_UNKNOWN", "lastMessageId LAST_MESSAGE_REQUIRED"},
		},
		"a correction, for the audience of its conversation": {
			second(s.agent.RecategoriseConversation(claire.call(t), &messagingpb.RecategoriseConversationRequest{Id: sent.GetId(), Theme: "exploitation", Topic: "appels", Reason: long})),
			[]string{"reason TOO_LONG", "theme THEME_NOT_FOR_AUDIENCE"},
		},
		"a correction of what another caisse has": {
			second(s.agent.RecategoriseConversation(s.clerk(t, "elsewhere", map[string]any{"caisse": "msa-35"}).call(t), &messagingpb.RecategoriseConversationRequest{Id: sent.GetId(), Theme: "exploitation", Topic: "appels", Reason: long})),
			[]string{"reason TOO_LONG"},
		},
		"a template": {
			second(s.agent.SaveTemplate(s.clerk(t, "sofiane", map[string]any{"roles": []string{auth.RoleSupervisor}}).call(t), &messagingpb.SaveTemplateRequest{Id: "zz", Title: "  ", Text: "\u200b", Queue: "nulle-part"})),
			[]string{"id UUID_INVALID", "title TITLE_INVALID", "queue QUEUE_UNKNOWN", "text BODY_BLANK"},
		},
		"a template's variables": {
			second(s.agent.SaveTemplate(s.clerk(t, "sofiane", map[string]any{"roles": []string{auth.RoleSupervisor}}).call(t), &messagingpb.SaveTemplateRequest{Id: "zz", Title: "a", Text: "{{date}} {{nom}}"})),
			[]string{"id UUID_INVALID", "text TEMPLATE_VARIABLE_UNKNOWN"},
		},
		"a template's variables, the handler's alone": {
			second(s.agent.SaveTemplate(s.clerk(t, "sofiane", map[string]any{"roles": []string{auth.RoleSupervisor}}).call(t), &messagingpb.SaveTemplateRequest{Id: "0199f0b2-0000-7000-8000-000000000009", Title: "  ", Text: "{{date}} {{nom}}"})),
			[]string{"title TITLE_INVALID", "text TEMPLATE_VARIABLE_UNKNOWN"},
		},
		"preferences": {
			second(s.messaging.UpdatePreferences(jeanne.call(t), &messagingpb.UpdatePreferencesRequest{
				Preferences: &messagingpb.Preferences{Email: "x", Phone: "y", Locale: "de"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"none"}},
			})),
			[]string{"preferences.locale VALUE_UNKNOWN", "preferences.email EMAIL_INVALID", "preferences.phone PHONE_INVALID", "updateMask FIELD_MASK_INVALID"},
		},
		"preferences, the handler's alone": {
			second(s.messaging.UpdatePreferences(jeanne.call(t), &messagingpb.UpdatePreferencesRequest{
				Preferences: &messagingpb.Preferences{Email: "x"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"none"}},
			})),
			[]string{"preferences.email EMAIL_INVALID", "updateMask FIELD_MASK_INVALID"},
		},
	} {
		if got := faultsOf(row.err); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q (%v)", name, got, row.want, row.err)
		}
	}
}

// What a rule refuses does not hide what is wrong beside it: the version without an audience,
// a theme that nobody has without a conversation, two selections at once.
func TestFaults_BesideWhatCannotBeJudged(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	operator := s.clerk(t, "olga", map[string]any{"roles": []string{auth.RoleOperator}})
	const key, text = "0199f0b2-0000-7000-8000-000000000001", "Bonjour, je n’ai rien reçu."
	submit := func(audience taxonomypb.Audience, version int32) error {
		return second(s.messaging.SubmitMessage(jeanne.call(t, key), &messagingpb.SubmitMessageRequest{Audience: audience, Theme: "nulle-part", TaxonomyVersion: version, Text: text}))
	}
	correct := func(id, theme string) error {
		return second(s.agent.RecategoriseConversation(claire.call(t), &messagingpb.RecategoriseConversationRequest{Id: id, Theme: theme}))
	}
	requeue := func(all bool, ids ...string) error {
		return second(s.operators(t).RequeueRefusedEvents(operator.call(t), &messagingpb.RequeueRefusedEventsRequest{Ids: ids, All: all}))
	}
	for name, row := range map[string]struct {
		err  error
		want []string
	}{
		"no audience, no version":        {submit(0, 0), []string{"audience REQUIRED", "taxonomyVersion TAXONOMY_VERSION_REQUIRED"}},
		"no audience, a version to come": {submit(0, 2), []string{"audience REQUIRED", "taxonomyVersion TAXONOMY_VERSION_UNKNOWN"}},
		"no audience":                    {submit(0, 1), []string{"audience REQUIRED"}},
		"an audience that there is not":  {submit(99, 1), []string{"audience VALUE_UNKNOWN"}},
		"a theme that nobody has":        {correct("zz", "nulle-part"), []string{"id UUID_INVALID", "theme THEME_UNKNOWN"}},
		"a theme that somebody has":      {correct("zz", "exploitation"), []string{"id UUID_INVALID"}},
		"bad ids and all":                {requeue(true, "a", "a"), []string{"ids NOT_UNIQUE", "all SELECTION_INVALID"}},
		"good ids and all":               {requeue(true, key), []string{"all SELECTION_INVALID"}},
		"bad ids":                        {requeue(false, "a"), []string{"ids UUID_INVALID"}},
		"neither":                        {requeue(false), []string{"ids SELECTION_INVALID"}},
	} {
		if got := faultsOf(row.err); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q (%v)", name, got, row.want, row.err)
		}
	}
}
