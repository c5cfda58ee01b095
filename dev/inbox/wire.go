package inbox

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/mail"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// sendGridMail is what SendGrid's v3 mail/send takes, as far as it is used.
type sendGridMail struct {
	Personalizations []struct {
		To         []address         `json:"to"`
		Headers    map[string]string `json:"headers"`
		CustomArgs map[string]string `json:"custom_args"`
	} `json:"personalizations"`
	From    address `json:"from"`
	Subject string  `json:"subject"`
	Content []struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	} `json:"content"`
	Headers    map[string]string `json:"headers"`
	CustomArgs map[string]string `json:"custom_args"`
}

type address struct {
	Email string `json:"email"`
	Name  string `json:"name"`
}

// newID returns a random identifier with a provider's prefix.
func newID(prefix string) string {
	var raw [16]byte
	rand.Read(raw[:])
	return prefix + hex.EncodeToString(raw[:])
}

// sendGrid is POST /v3/mail/send.
func (in *Inbox) sendGrid(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, field, text string) {
		fault := map[string]any{"message": text, "field": nil, "help": nil}
		if field != "" {
			fault["field"] = field
		}
		writeJSON(w, status, map[string]any{"errors": []any{fault}})
	}
	if !same(r.Header.Get("Authorization"), "Bearer "+in.cfg.APIKey) {
		refuse(http.StatusUnauthorized, "", "The provided authorization grant is invalid, expired, or revoked")
		return
	}
	// To the end, or the server does not notice a caller who gives up.
	body, err := io.ReadAll(r.Body)
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		refuse(http.StatusRequestEntityTooLarge, "", "Payload Too Large")
		return
	}
	var sent sendGridMail
	if err != nil || json.Unmarshal(body, &sent) != nil {
		refuse(http.StatusBadRequest, "", "Bad Request")
		return
	}
	m, field, text := sent.message()
	if text != "" {
		refuse(http.StatusBadRequest, field, text)
		return
	}
	if in.deliver(w, r, m, func(status int, text string) { refuse(status, "", text) }) {
		w.Header().Set("X-Message-Id", m.ID)
		w.WriteHeader(http.StatusAccepted)
	}
}

// message checks a mail as SendGrid does and returns it as kept, or the field at
// fault with what is wrong.
func (s *sendGridMail) message() (m Message, field, fault string) {
	if len(s.Personalizations) != 1 || len(s.Personalizations[0].To) != 1 {
		return m, "personalizations", "The personalizations field is required and must have one recipient here."
	}
	personal := s.Personalizations[0]
	m = Message{
		ID: newID(""), Channel: Email, Provider: "sendgrid", To: personal.To[0].Email, From: s.From.Email,
		Subject: s.Subject, Headers: make(map[string]string), ReceivedAt: time.Now().UTC(),
	}
	for _, a := range []struct{ field, email string }{{"personalizations.0.to.0.email", m.To}, {"from.email", m.From}} {
		if parsed, err := mail.ParseAddress(a.email); err != nil || parsed.Address != a.email {
			return m, a.field, "Does not contain a valid address."
		}
	}
	if strings.TrimSpace(s.Subject) == "" || strings.ContainsAny(s.Subject, "\r\n") {
		return m, "subject", "The subject is required, on one line."
	}
	for i, part := range s.Content {
		switch {
		case part.Value == "":
			return m, "content", "The content value must be a string at least one character in length."
		case part.Type == "text/plain" && i == 0:
			m.Text = part.Value
		case part.Type == "text/html":
			m.HTML = part.Value
		default:
			return m, "content", "If present, text/plain must be first, followed by text/html."
		}
	}
	if len(s.Content) == 0 {
		return m, "content", "The content field is required."
	}
	m.Headers["From"] = s.From.Name + " <" + s.From.Email + ">"
	for _, set := range []map[string]string{s.Headers, personal.Headers} {
		for name, value := range set {
			m.Headers[name] = value
		}
	}
	for _, set := range []map[string]string{s.CustomArgs, personal.CustomArgs} {
		for name, value := range set {
			m.Headers["custom_args."+name] = value
		}
	}
	return m, "", ""
}

// e164 is the form of a telephone number (ITU-T E.164).
var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// Twilio's codes of errors.
const (
	codeAuthenticate = 20003
	codeTooMany      = 20429
	codeNoBody       = 21602
	codeInvalidTo    = 21211
	codeNoFrom       = 21603
	codeLongBody     = 21617
	codeInternal     = 20500
)

// maxSMS is the longest body that Twilio takes, in characters.
const maxSMS = 1600

// twilio is POST …/Messages.json.
func (in *Inbox) twilio(w http.ResponseWriter, r *http.Request) {
	refuse := func(status, code int, text string) {
		writeJSON(w, status, map[string]any{"code": code, "message": text, "more_info": "https://www.twilio.com/docs/errors", "status": status})
	}
	sid, token, _ := r.BasicAuth()
	if !same(sid, in.cfg.TwilioSID) || !same(token, in.cfg.TwilioToken) || r.PathValue("sid") != in.cfg.TwilioSID {
		refuse(http.StatusUnauthorized, codeAuthenticate, "Authenticate")
		return
	}
	if err := r.ParseForm(); err != nil {
		refuse(http.StatusBadRequest, codeNoBody, "the form cannot be read")
		return
	}
	form := r.PostForm
	m := Message{
		ID: newID("SM"), Channel: SMS, Provider: "twilio", To: form.Get("To"), From: form.Get("From"),
		Text: form.Get("Body"), Headers: make(map[string]string), ReceivedAt: time.Now().UTC(),
	}
	switch {
	case !e164.MatchString(m.To):
		refuse(http.StatusBadRequest, codeInvalidTo, "The 'To' number is not a valid phone number.")
		return
	case m.Text == "":
		refuse(http.StatusBadRequest, codeNoBody, "Message body is required.")
		return
	case utf8.RuneCountInString(m.Text) > maxSMS:
		refuse(http.StatusBadRequest, codeLongBody, "The concatenated message body exceeds the 1600 character limit.")
		return
	case m.From == "" && form.Get("MessagingServiceSid") == "":
		refuse(http.StatusBadRequest, codeNoFrom, "A 'From' phone number is required.")
		return
	}
	for _, name := range []string{"StatusCallback", "MessagingServiceSid"} {
		if value := form.Get(name); value != "" {
			m.Headers[name] = value
		}
	}
	codes := map[int]int{
		http.StatusBadRequest: codeInvalidTo, http.StatusTooManyRequests: codeTooMany, http.StatusInternalServerError: codeInternal,
	}
	if in.deliver(w, r, m, func(status int, text string) { refuse(status, codes[status], text) }) {
		writeJSON(w, http.StatusCreated, map[string]any{
			"sid": m.ID, "account_sid": in.cfg.TwilioSID, "to": m.To, "from": m.From, "body": m.Text,
			"status": "queued", "num_segments": strconv.Itoa(smsParts(m.Text)), "direction": "outbound-api", "error_code": nil, "error_message": nil,
			"date_created": m.ReceivedAt.Format(time.RFC1123Z), "uri": r.URL.Path,
		})
	}
}

func same(given, wanted string) bool {
	return subtle.ConstantTimeCompare([]byte(given), []byte(wanted)) == 1
}
