package notifier

import (
	"bytes"
	"context"
	"net/http"

	sgmail "github.com/sendgrid/sendgrid-go/helpers/mail"
)

// SendGrid is the e-mail provider's part of the configuration, NOTIFIER_SENDGRID_*.
type SendGrid struct {
	// BaseURL is the API's address; https://api.eu.sendgrid.com keeps the data
	// in the European Union.
	BaseURL string `env:"BASE_URL" envDefault:"https://api.eu.sendgrid.com"`
	// APIKey needs the permission "Mail Send" and no other. Give it as a file
	// with NOTIFIER_SENDGRID_API_KEY_FILE.
	APIKey string `env:"API_KEY,required"`
	// From is the sender's address, in a domain verified at the provider.
	From string `env:"FROM,required"`
	// FromName is the sender's name.
	FromName string `env:"FROM_NAME" envDefault:"Ma messagerie"`
}

// sendGrid speaks SendGrid's v3 mail/send.
//
// Only the builder of sendgrid-go is used. Its Client keeps the body of the
// current request in a field: shared between goroutines it sends some mails
// twice and others never, each answered with 202. It also has no time-out.
type sendGrid struct {
	cfg    SendGrid
	client *http.Client
}

// Mail sends one e-mail. Accepted means that SendGrid has queued it (202), not
// that it was delivered.
func (p *sendGrid) Mail(ctx context.Context, m email) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.BaseURL+"/v3/mail/send", bytes.NewReader(p.body(m)))
	if err != nil {
		return answer{class: classConfigFault, reason: "BASE_URL_INVALID"}
	}
	req.Header.Set("Authorization", "Bearer "+p.cfg.APIKey)
	req.Header.Set("Content-Type", "application/json")
	resp, _, result := call(p.client, req)
	if result.class == classAccepted {
		result.messageID = resp.Header.Get("X-Message-Id")
	}
	return result
}

func (p *sendGrid) body(m email) []byte {
	to := sgmail.NewPersonalization()
	to.AddTos(sgmail.NewEmail("", m.To))
	to.SetCustomArg("delivery_id", m.DeliveryID)
	message := sgmail.NewV3Mail().
		SetFrom(sgmail.NewEmail(p.cfg.FromName, p.cfg.From)).
		AddPersonalizations(to).
		// SendGrid demands this order.
		AddContent(sgmail.NewContent("text/plain", m.Text), sgmail.NewContent("text/html", m.HTML)).
		// Mailing robots must not answer one another (RFC 3834).
		SetHeader("Auto-Submitted", "auto-generated").
		// Each of these would rewrite the mail: a picture to see who opens it,
		// links by which to follow them, a line about a list there is not.
		SetTrackingSettings(sgmail.NewTrackingSettings().
			SetClickTracking(sgmail.NewClickTrackingSetting().SetEnable(false).SetEnableText(false)).
			SetOpenTracking(sgmail.NewOpenTrackingSetting().SetEnable(false)).
			SetSubscriptionTracking(sgmail.NewSubscriptionTrackingSetting().SetEnable(false)))
	message.Subject = m.Subject
	return sgmail.GetRequestBody(message)
}
