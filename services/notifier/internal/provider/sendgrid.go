package provider

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"time"

	sgmail "github.com/sendgrid/sendgrid-go/helpers/mail"
)

// SendGrid is the e-mail provider's part of the configuration, NOTIFIER_SENDGRID_*.
type SendGrid struct {
	// BaseURL is the API's address; https://api.eu.sendgrid.com keeps the data
	// in the European Union.
	BaseURL string `env:"BASE_URL" envDefault:"https://api.eu.sendgrid.com"`
	// APIKey needs the permission "Mail Send" and, with Activity, the reading of
	// "Email Activity"; no other. Give it as a file with
	// NOTIFIER_SENDGRID_API_KEY_FILE.
	APIKey string `env:"API_KEY,required"`
	// From is the sender's address, in a domain verified at the provider.
	From string `env:"FROM,required"`
	// FromName is the sender's name.
	FromName string `env:"FROM_NAME" envDefault:"Ma messagerie"`
	// Activity asks SendGrid's Email Activity Feed, before an e-mail is sent again
	// that it may have taken, whether it has. The feed is a paid add-on and takes
	// few questions a minute: after a crash, e-mails in doubt may wait for hours.
	// Without it, a mail in doubt is sent again unasked. With it set and not
	// bought, none is.
	Activity bool `env:"ACTIVITY" envDefault:"false"`
	// WebhookKey is the verification key of the signed event webhook, as SendGrid
	// shows it (base64). Give SendGrid the gateway's /webhooks/sendgrid
	// as address, and select all delivery events. Empty: reports are not taken.
	WebhookKey string `env:"WEBHOOK_KEY"`
}

// sendGridMailer speaks SendGrid's v3 mail/send.
//
// Only the builder of sendgrid-go is used. Its Client keeps the body of the
// current request in a field: shared between goroutines it sends some mails
// twice and others never, each answered with 202. It also has no time-out.
type sendGridMailer struct {
	cfg    SendGrid
	client *http.Client
}

// NewSendGrid returns SendGrid, as a finder if the add-on is there.
func NewSendGrid(cfg SendGrid, workers int, timeout time.Duration) Mailer {
	mails := &sendGridMailer{cfg: cfg, client: newClient(workers, timeout)}
	if cfg.Activity {
		return activityFeed{mails}
	}
	return mails
}

// Mail sends one e-mail. Accepted means that SendGrid has queued it (202), not
// that it was delivered.
func (p *sendGridMailer) Mail(ctx context.Context, m Email) Answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.BaseURL+"/v3/mail/send", bytes.NewReader(p.body(m)))
	if err != nil {
		return Answer{Class: ConfigFault, Reason: "BASE_URL_INVALID"}
	}
	req.Header.Set("Authorization", "Bearer "+p.cfg.APIKey)
	req.Header.Set("Content-Type", "application/json")
	resp, _, result := call(p.client, req) //nolint:bodyclose // call has read and closed it
	if result.Class == Accepted {
		result.MessageID = resp.Header.Get("X-Message-Id")
	}
	return result
}

func (p *sendGridMailer) body(m Email) []byte {
	to := sgmail.NewPersonalization()
	to.AddTos(sgmail.NewEmail("", m.To))
	to.SetCustomArg(deliveryArg, m.DeliveryID)
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

// deliveryArg is the custom argument that carries a delivery's id. The feed calls
// these unique_args.
const deliveryArg = "delivery_id"

// activityFeed is a sendGrid that can also be asked, by its add-on.
type activityFeed struct{ *sendGridMailer }

// Find asks the feed for the mail with this delivery's id. Whatever has become of
// it since, delivered or bounced, SendGrid took it.
func (p activityFeed) Find(ctx context.Context, m Email, _ time.Time) Answer {
	query := url.Values{"limit": {"1"}, "query": {`(unique_args['` + deliveryArg + `']="` + m.DeliveryID + `")`}}
	req, err := http.NewRequestWithContext(withQuery(ctx, query.Encode()), http.MethodGet, p.cfg.BaseURL+"/v3/messages", nil)
	if err != nil {
		return Answer{Class: LookupFailed, Reason: "BASE_URL_INVALID"}
	}
	req.Header.Set("Authorization", "Bearer "+p.cfg.APIKey)
	var feed struct {
		Messages []struct {
			ID string `json:"msg_id"`
		} `json:"messages"`
	}
	result := ask(p.client, req, &feed)
	switch {
	case result.Class != Accepted:
	case feed.Messages == nil: // JSON, but not from the feed
		result.Class, result.Reason = LookupFailed, reasonUnreadable
	case len(feed.Messages) == 0:
		result.Class = NotSent
	default:
		result.Class, result.MessageID = Found, feed.Messages[0].ID
	}
	return result
}
