package openapi

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
)

const (
	sampleID   = "0199f3a2-5c1e-7d34-9b60-2f8e41c7a905"
	sampleTag  = `"5f1c0a9e7d3b2468"`
	sampleTime = "2026-03-02T09:15:00Z"
	// sampleRequest names a request.
	sampleRequest = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
)

func choice(code, label string) object { return object{{"code", code}, {"label", label}} }

// samples are values of fields: by message and JSON name, or by JSON name alone. What has
// none gets one of its type. A request has the fields that it needs and those that are
// named here with their message.
var samples = map[string]any{
	"accountEmail":   "jeanne.dupont@example.org",
	"accountLocale":  "fr",
	"accountPhone":   "+33612345678",
	"agent":          "Claire M.",
	"agentId":        "agents:claire",
	"audience":       "PARTICULIER",
	"buildVersion":   "1.0.0",
	"caisse":         "idf",
	"conversationId": sampleID,
	"date":           "2026-03-02",
	"email":          "",
	"eventType":      "message-submitted",
	"expireTime":     "2026-03-02T09:45:00Z",
	"help":           "",
	"id":             sampleID,
	"locale":         "fr",
	"nextPageToken":  "",
	"pageToken":      "",
	"pendingEmail":   "",
	"pendingPhone":   "",
	"phone":          "",
	"provider":       "sendgrid",
	"queue":          "prestations-familiales",
	"reason":         "paiement-absent",
	"reference":      "MSA-7K3D92QD",
	"schemaVersion":  "12",
	"text":           "Bonjour, je n'ai pas reçu mon paiement de février.",
	"theme":          "famille-logement",
	"topic":          "allocations-familiales",
	"url":            "https://www.example.org/remboursements",

	"AgentDraft.note":                        "Rappeler demain.",
	"AgentDraft.text":                        "Bonjour, votre paiement",
	"AgentQueue.code":                        "prestations-familiales",
	"AgentQueue.label":                       "Service Prestations familiales et logement",
	"AgentQueue.mine":                        true,
	"ClaimInfo.mine":                         true,
	"Conversation.queue":                     choice("prestations-familiales", "Service Prestations familiales et logement"),
	"Conversation.reason":                    choice("paiement-absent", "Je n’ai pas reçu mon paiement"),
	"Conversation.theme":                     choice("famille-logement", "Famille, Allocations familiales, aides au logement"),
	"Conversation.topic":                     choice("allocations-familiales", "Allocations familiales"),
	"DeadLetter.id":                          sampleID + ".EMAIL",
	"DeadLetter.reason":                      "HARD_BOUNCE",
	"DeadLetter.state":                       "BOUNCED",
	"Delivery.reason":                        "",
	"Delivery.state":                         "DELIVERED",
	"ExpectedDelay.workingDays":              5,
	"GetTaxonomyResponse.documentDepositUrl": "",
	"Hold.note":                              "Recours devant le tribunal judiciaire.",
	"Member.email":                           "CHOSEN",
	"Member.name":                            "Jeanne Dupont",
	"Member.number":                          "A1-204-517",
	"Member.phone":                           "ACCOUNT",
	"Note.text":                              "Le dossier est complet.",
	"OnlineService.code":                     "mes-remboursements",
	"OnlineService.name":                     "Mes remboursements",
	"Reason.code":                            "paiement-absent",
	"Reason.label":                           "Je n’ai pas reçu mon paiement",
	"RefusedEvent.reason":                    "NO_ACKNOWLEDGEMENT",
	"RefusedEvent.type":                      "message-submitted",
	"Step.kind":                              "RECEIVED",
	"Template.title":                         "Paiement en cours",
	"Template.text":                          "Bonjour, le paiement de votre dossier {{reference}} est en cours.",
	"TextLimits.max":                         750,
	"TextLimits.min":                         10,
	"Theme.code":                             "famille-logement",
	"Theme.label":                            "Famille, Allocations familiales, aides au logement",
	"ThemeFigures.theme":                     choice("famille-logement", "Famille, Allocations familiales, aides au logement"),
	"Topic.code":                             "allocations-familiales",
	"Topic.label":                            "Allocations familiales",
	"WaitingDeliveries.state":                "retry",

	"AddNoteRequest.text":                         "Le dossier est complet.",
	"AgentServiceSaveDraftRequest.note":           "Rappeler demain.",
	"AgentServiceSaveDraftRequest.text":           "Bonjour, votre paiement",
	"AgentServiceListConversationsRequest.status": []string{"SENT", "REOPENED"},
	"CloseConversationRequest.text":               "Votre demande est réglée par téléphone.",
	"DropDeadLetterRequest.id":                    sampleID + ".EMAIL",
	"DropDeadLetterRequest.note":                  "La boîte est fermée.",
	"GetExpectedDelayRequest.reason":              "paiement-absent",
	"GetExpectedDelayRequest.topic":               "allocations-familiales",
	"FindConversationsRequest.reference":          "MSA-7K3D92QD",
	"HoldConversationRequest.note":                "Recours devant le tribunal judiciaire.",
	"PostReplyRequest.final":                      true,
	"PostReplyRequest.text":                       "Bonjour, votre paiement part demain.",
	"PreferencesInput.email":                      "jeanne@exemple.fr",
	"PreferencesInput.phone":                      "+33612345678",
	"PreferencesInput.smsOnAcknowledgement":       true,
	"PreferencesInput.smsOnReply":                 true,
	"RecategoriseConversationRequest.reason":      "paiement-absent",
	"RecategoriseConversationRequest.topic":       "allocations-familiales",
	"RecordSearchRequest.q":                       "paiement",
	"RecordSuggestionOutcomeRequest.outcome":      "FOLLOWED",
	"RecordSuggestionOutcomeRequest.reason":       "paiement-absent",
	"RecordSuggestionOutcomeRequest.service":      "mes-remboursements",
	"RecordSuggestionOutcomeRequest.topic":        "allocations-familiales",
	"ReplayDeadLettersRequest.dryRun":             true,
	"ReplayDeadLettersRequest.filter":             object{{"channel", "EMAIL"}},
	"RequeueRefusedEventsRequest.all":             true,
	"ResolveSuggestionRequest.reason":             "paiement-absent",
	"ResolveSuggestionRequest.topic":              "allocations-familiales",
	"SaveDraftRequest.audience":                   "PARTICULIER",
	"SaveDraftRequest.text":                       "Bonjour, je",
	"SaveDraftRequest.theme":                      "famille-logement",
	"SaveTemplateRequest.text":                    "Bonjour, le paiement de votre dossier {{reference}} est en cours.",
	"SaveTemplateRequest.title":                   "Paiement en cours",
	"SearchReasonsRequest.q":                      "paiement",
	"SubmitMessageRequest.reason":                 "paiement-absent",
	"SubmitMessageRequest.taxonomyVersion":        3,
	"SubmitMessageRequest.topic":                  "allocations-familiales",
	"UpdatePreferencesRequest.updateMask":         "smsOnReply",
}

// whole are the answers whose conversations have their messages.
var whole = []protoreflect.Name{
	"SubmitMessageResponse", "GetConversationResponse", "PostFollowUpResponse", "ExportMyDataResponse",
	"AgentServiceGetConversationResponse", "PostReplyResponse", "AddNoteResponse",
}

// sampler makes examples of what an operation takes and answers.
type sampler struct {
	as role
	// agent: the caller sees what members do not. brief: conversations are without their
	// messages.
	agent, brief bool
}

func (op *operation) sampler(as role) *sampler {
	return &sampler{as: as, agent: op.Access != accesspb.Access_ACCESS_MEMBER, brief: !slices.Contains(whole, op.desc.Output().Name())}
}

// message is an example of a message, but for some of its fields.
func (s *sampler) message(message protoreflect.MessageDescriptor, without []string) object {
	sample := object{}
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if slices.Contains(without, string(field.Name())) || field.ContainingOneof() != nil && len(sample) > 0 {
			continue
		}
		if value, ok := s.field(field); ok {
			sample = append(sample, member{field.JSONName(), value})
		}
	}
	return sample
}

// field is an example of a field; false where the example does without.
func (s *sampler) field(field protoreflect.FieldDescriptor) (any, bool) {
	message := string(field.Parent().Name())
	if s.as == request && message == "Preferences" {
		message = "PreferencesInput"
	}
	key := message + "." + field.JSONName()
	value, named := samples[key]
	switch {
	case s.as == request && !named && !needed(field):
		return nil, false
	case (key == "Conversation.claim" || key == "Conversation.hold") && !s.agent, key == "Conversation.expireTime",
		key == "Conversation.member" && (s.brief || !s.agent):
		return nil, false
	case s.brief && slices.Contains([]string{"Conversation.messages", "Conversation.steps", "Conversation.notes"}, key),
		key == "Conversation.notes" && !s.agent:
		return []any{}, true
	case named:
		return value, true
	}
	value, named = samples[field.JSONName()]
	if !named || field.Kind() != protoreflect.StringKind && field.Kind() != protoreflect.EnumKind {
		value = s.byType(field)
	}
	if field.IsList() {
		value = []any{value}
	}
	return value, true
}

// byType is an example that says nothing but the type.
func (s *sampler) byType(field protoreflect.FieldDescriptor) any {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		switch field.Message().FullName() {
		case "google.protobuf.Timestamp":
			return sampleTime
		case "google.protobuf.Duration":
			return "12.500s"
		}
		return s.message(field.Message(), nil)
	case protoreflect.EnumKind:
		return string(field.Enum().Values().Get(1).Name())
	case protoreflect.BoolKind:
		return needed(field) || strings.HasSuffix(string(field.Name()), "_reachable")
	case protoreflect.StringKind:
		if rules := rulesOf(field); rules.GetString().GetUuid() || rules.GetRepeated().GetItems().GetString().GetUuid() {
			return sampleID
		}
		return string(field.Name())
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "3"
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return 4.5
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Uint32Kind, protoreflect.Sfixed32Kind, protoreflect.Fixed32Kind:
		return 1
	case protoreflect.BytesKind:
		return "AA=="
	}
	return nil
}
