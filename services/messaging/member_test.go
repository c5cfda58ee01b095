package messaging

import (
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

func (c caller) preferences(t *testing.T) *messagingpb.Preferences {
	t.Helper()
	resp, err := c.messaging.GetPreferences(c.call(t), &messagingpb.GetPreferencesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetPreferences()
}

func (c caller) prefer(t *testing.T, all *messagingpb.Preferences) *messagingpb.Preferences {
	t.Helper()
	resp, err := c.messaging.ReplacePreferences(c.call(t), &messagingpb.ReplacePreferencesRequest{Preferences: all})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetPreferences()
}

func (s *stage) recipient(t *testing.T, id string) *messagingpb.Recipient {
	t.Helper()
	machine := s.machine(t)
	resp, err := machine.recipients.BatchGetRecipients(machine.call(t), &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{id}})
	if err != nil || len(resp.GetRecipients()) > 1 {
		t.Fatalf("got %v, %v", resp, err)
	}
	if len(resp.GetRecipients()) == 0 {
		return nil
	}
	return resp.GetRecipients()[0]
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	// Before anything was written: what the account says, and the defaults.
	want := &messagingpb.Preferences{AccountEmail: memberEmail, AccountPhone: memberPhone, AccountLocale: "fr", SmsOnAcknowledgement: true}
	if got := jeanne.preferences(t); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	chosen := jeanne.prefer(t, &messagingpb.Preferences{
		Email: " autre@canari.example ", Phone: "06 12 34 56 78", Locale: "en", SmsOnReply: true,
	})
	want = &messagingpb.Preferences{
		Email: "autre@canari.example", Phone: "+33612345678", Locale: "en", SmsOnReply: true,
		AccountEmail: memberEmail, AccountPhone: memberPhone, AccountLocale: "fr",
	}
	if !proto.Equal(chosen, want) || !proto.Equal(jeanne.preferences(t), want) {
		t.Errorf("got %v, want %v", chosen, want)
	}
	// What was answered, given as it is, changes nothing.
	if again := jeanne.prefer(t, chosen); !proto.Equal(again, want) {
		t.Errorf("given back: %v, want %v", again, want)
	}
	// A submission does not bring the account's back.
	id := jeanne.submit(t).GetId()
	to := s.recipient(t, id)
	if to.GetEmail() != "autre@canari.example" || to.GetPhone() != "+33612345678" || to.GetLocale() != "en" || !to.GetNoSmsOnAcknowledgement() || !to.GetSmsOnReply() {
		t.Errorf("recipient %v", to)
	}
	// A reply's event says the same whatever is chosen: the choice is what it is when the SMS
	// would leave.
	s.clerk(t, "claire").reply(t, id, true)
	bare := slices.ContainsFunc(s.published(t), func(m *jetstream.RawStreamMsg) bool {
		var reply eventspb.ReplyPosted
		return m.Header.Get("ce-type") == "org.ma-messagerie.reply-posted.v1" && proto.Unmarshal(m.Data, &reply) == nil &&
			proto.Equal(&reply, &eventspb.ReplyPosted{Origin: reply.GetOrigin(), MessageId: reply.GetMessageId(), Final: true, Sms: true}) //nolint:staticcheck // for earlier notifiers
	})
	if !bare {
		t.Error("the reply's event says more than that there is one")
	}
	// One of the two given up: the account's again.
	jeanne.prefer(t, &messagingpb.Preferences{Phone: "+33612345678", Locale: "fr", SmsOnAcknowledgement: true})
	to = s.recipient(t, id)
	if to.GetEmail() != memberEmail || to.GetPhone() != "+33612345678" || to.GetLocale() != "fr" || to.GetNoSmsOnAcknowledgement() || to.GetSmsOnReply() {
		t.Errorf("recipient %v", to)
	}
	if secret := holdsSecret(s.dump(t)); secret != "" {
		t.Errorf("the database holds %q in clear", secret)
	}
}

func TestPreferences_Refusals(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	before := jeanne.preferences(t)
	for typed, reason := range map[string]string{
		"jeanne": "EMAIL_INVALID", "jeanne@localhost": "EMAIL_INVALID", "Jeanne <j@exemple.fr>": "EMAIL_INVALID",
		"j@exemple.fr, k@exemple.fr": "EMAIL_INVALID", "jérôme@exemple.fr": "EMAIL_NOT_ASCII", "j@exemple.con": "EMAIL_UNREACHABLE", "j@exemple.fr\r\nBcc: k@exemple.fr": "EMAIL_INVALID",
	} {
		_, err := jeanne.messaging.ReplacePreferences(jeanne.call(t), &messagingpb.ReplacePreferencesRequest{Preferences: &messagingpb.Preferences{Email: typed, Locale: "fr"}})
		refused(t, err, codes.InvalidArgument, reason, "preferences.email")
	}
	for typed, reason := range map[string]string{
		"17": "PHONE_INVALID", "06 12": "PHONE_INVALID", "+33 6 12 34 56 78 9": "PHONE_INVALID", "abc": "PHONE_INVALID",
		"01 42 34 56 78": "PHONE_NOT_MOBILE", "0899 70 12 34": "PHONE_NOT_MOBILE", "0262 12 34 56": "PHONE_NOT_MOBILE", "+41 79 123 45 67": "PHONE_COUNTRY_UNSUPPORTED",
	} {
		_, err := jeanne.messaging.ReplacePreferences(jeanne.call(t), &messagingpb.ReplacePreferencesRequest{Preferences: &messagingpb.Preferences{Phone: typed, Locale: "fr"}})
		t.Log(typed)
		refused(t, err, codes.InvalidArgument, reason, "preferences.phone")
	}
	_, err := jeanne.messaging.ReplacePreferences(jeanne.call(t), &messagingpb.ReplacePreferencesRequest{Preferences: &messagingpb.Preferences{Locale: "de"}})
	refused(t, err, codes.InvalidArgument, "VALUE_UNKNOWN", "preferences.locale")
	if after := jeanne.preferences(t); !proto.Equal(before, after) {
		t.Errorf("refusals changed %v to %v", before, after)
	}
}

// What is chosen is kept in the one form that providers take, whatever was pasted.
func TestPreferences_Forms(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	for typed, want := range map[[2]string][2]string{
		{" o’brien@Exemple.FR\u00a0", "\u20680692 12 34 56\u2069"}:    {"o'brien@exemple.fr", "+262692123456"},
		{"j@éxemple.fr", "+33 690 12 34 56"}:                          {"j@xn--xemple-9ua.fr", "+590690123456"},
		{"\u2068j@exemple.fr\u2069\n", "0033\u202f694\u00a012-34-56"}: {"j@exemple.fr", "+594694123456"},
		{"\u200b", " \n"}: {"", ""},
	} {
		chosen := jeanne.prefer(t, &messagingpb.Preferences{Email: typed[0], Phone: typed[1]})
		if got := [2]string{chosen.GetEmail(), chosen.GetPhone()}; got != want {
			t.Errorf("%+q: %q, want %q", typed, got, want)
		}
	}
}

// The account's contact points are held to the same rules, and their member is told of those
// that are not used; nobody is written to at them.
func TestPreferences_OfTheAccount(t *testing.T) {
	t.Parallel()
	s := running(t)
	for who, row := range map[string]struct {
		claims       map[string]any
		email, phone string // to which is sent
		said         *messagingpb.Preferences
	}{
		"usable": {
			map[string]any{"email": "u@Exemple.FR", "phone_number": "+33 696 12 34 56"},
			"u@exemple.fr", "+596696123456",
			&messagingpb.Preferences{AccountEmail: "u@exemple.fr", AccountPhone: "+596696123456"},
		},
		"a-number": {
			map[string]any{"email": "", "phone_number": 33612345678},
			"", "+33612345678",
			&messagingpb.Preferences{AccountPhone: "+33612345678"},
		},
		"unusable": {
			map[string]any{"email": "rené@exemple.fr", "phone_number": "\u206801 42 34 56 78\u2069"},
			"", "",
			&messagingpb.Preferences{AccountEmail: "rené@exemple.fr", AccountEmailFault: "EMAIL_NOT_ASCII", AccountPhone: "01 42 34 56 78", AccountPhoneFault: "PHONE_NOT_MOBILE"},
		},
		"abroad": {
			map[string]any{"email": "a@exemple.con", "phone_number": "+41791234567"},
			"", "",
			&messagingpb.Preferences{AccountEmail: "a@exemple.con", AccountEmailFault: "EMAIL_UNREACHABLE", AccountPhone: "+41791234567", AccountPhoneFault: "PHONE_COUNTRY_UNSUPPORTED"},
		},
		"far-too-long": {
			map[string]any{"email": "a@" + strings.Repeat("exemple.fr.", 30) + "fr", "phone_number": "06"},
			"", "",
			&messagingpb.Preferences{AccountEmail: "a@" + strings.Repeat("exemple.fr.", 30)[:257] + "…", AccountEmailFault: "EMAIL_INVALID", AccountPhone: "06", AccountPhoneFault: "PHONE_INVALID"},
		},
	} {
		caller := s.member(t, who, row.claims)
		row.said.SmsOnAcknowledgement, row.said.AccountLocale = true, "fr"
		if got := caller.preferences(t); !proto.Equal(got, row.said) {
			t.Errorf("%s: %v, want %v", who, got, row.said)
		}
		if to := s.recipient(t, caller.submit(t).GetId()); to.GetEmail() != row.email || to.GetPhone() != row.phone {
			t.Errorf("%s: recipient %v", who, to)
		}
	}
}

// An update changes what its mask names, and nothing else; without one, what has a value.
func TestUpdatePreferences(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	first := jeanne.prefer(t, &messagingpb.Preferences{Email: "autre@canari.example", Phone: "+33612345678", Locale: "en", SmsOnAcknowledgement: true})
	for _, test := range []struct {
		name  string
		given *messagingpb.Preferences
		mask  []string
		want  func(*messagingpb.Preferences)
	}{
		{"one on", &messagingpb.Preferences{SmsOnReply: true, Email: "x"}, []string{"sms_on_reply"}, func(p *messagingpb.Preferences) { p.SmsOnReply = true }},
		{"one off", &messagingpb.Preferences{}, []string{"sms_on_acknowledgement"}, func(p *messagingpb.Preferences) { p.SmsOnAcknowledgement = false }},
		{"one given up", &messagingpb.Preferences{}, []string{"email", "locale"}, func(p *messagingpb.Preferences) { p.Email, p.Locale = "", "" }},
		{"without a mask", &messagingpb.Preferences{Locale: "fr", AccountEmail: "x", PendingEmail: "x"}, nil, func(p *messagingpb.Preferences) { p.Locale = "fr" }},
		{"nothing", &messagingpb.Preferences{}, nil, func(*messagingpb.Preferences) {}},
		{"all", &messagingpb.Preferences{Phone: "06 98 76 54 32"}, []string{"*"}, func(p *messagingpb.Preferences) { p.Locale, p.Phone, p.SmsOnReply = "", "+33698765432", false }},
	} {
		want := first
		test.want(want)
		resp, err := jeanne.messaging.UpdatePreferences(jeanne.call(t), &messagingpb.UpdatePreferencesRequest{Preferences: test.given, UpdateMask: &fieldmaskpb.FieldMask{Paths: test.mask}})
		if err != nil || !proto.Equal(resp.GetPreferences(), want) || !proto.Equal(jeanne.preferences(t), want) {
			t.Errorf("%s: %v, %v, want %v", test.name, resp, err, want)
		}
	}
	for _, path := range []string{"account_email", "none", "", "preferences.email"} {
		_, err := jeanne.messaging.UpdatePreferences(jeanne.call(t), &messagingpb.UpdatePreferencesRequest{Preferences: &messagingpb.Preferences{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{path}}})
		refused(t, err, codes.InvalidArgument, "FIELD_MASK_INVALID", "updateMask")
	}
	_, err := jeanne.messaging.UpdatePreferences(jeanne.call(t), &messagingpb.UpdatePreferencesRequest{})
	refused(t, err, codes.InvalidArgument, "REQUIRED", "preferences")
}

// Whatever of the account has changed is stored at the next submission: the language alone,
// too.
func TestMember_FollowsTheAccount(t *testing.T) {
	t.Parallel()
	s := running(t)
	id := s.member(t, "jeanne").submit(t).GetId()
	for _, change := range []struct {
		claims map[string]any
		locale string
		email  string
		phone  string
	}{
		{map[string]any{"locale": "en-GB"}, "en", memberEmail, memberPhone},
		{map[string]any{"locale": "en-GB", "email": "autre@canari.example"}, "en", "autre@canari.example", memberPhone},
		{map[string]any{"phone_number": "+33639989998"}, "fr", memberEmail, "+33639989998"},
	} {
		s.member(t, "jeanne", change.claims).submit(t)
		if got := s.recipient(t, id); got.GetLocale() != change.locale || got.GetEmail() != change.email || got.GetPhone() != change.phone {
			t.Errorf("%v: %v", change.claims, got)
		}
	}
}
