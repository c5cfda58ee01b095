package provider

import (
	"context"
	"time"
)

// mailRoute is a mailer behind its gate.
type mailRoute struct {
	Mailer
	gate *Gate
}

// mailRoutes are the providers of e-mail, the preferred one first. A mail goes to
// the next only when it was certainly not sent by the one before: refused for now,
// not reached, not called. One in doubt goes nowhere else.
type mailRoutes []mailRoute

// Mail returns the answer of the provider that took the mail, refused it for good
// or left it in doubt; of those that did not, the answer that says most.
func (routes mailRoutes) Mail(ctx context.Context, m Email) Answer {
	var best Answer
	for _, route := range routes {
		a := route.gate.through(func() Answer { return route.Mail(ctx, m) })
		if !passesOn[a.Class] {
			return a
		}
		if best.Class == "" || best.Class == Held || best.Class == ConfigFault && a.Class == NotSent {
			best = a
		}
	}
	return best
}

// passesOn are the classes after which a message was certainly not sent, and which
// are no word against the message itself.
var passesOn = map[Class]bool{NotSent: true, ConfigFault: true, Held: true}

// textRoute is a texter behind its gate.
type textRoute struct {
	Texter
	gate *Gate
}

// Text sends an SMS if the gate lets it.
func (r textRoute) Text(ctx context.Context, s SMS) Answer {
	return r.gate.through(func() Answer { return r.Texter.Text(ctx, s) })
}

// askableMail and askableText join the routes to the provider that can be asked about a
// doubt. Questions go past the gate: what they meet says nothing about sending.
type askableMail struct {
	Mailer
	Finder[Email]
}

type askableText struct {
	Texter
	Finder[SMS]
}

// NewMails returns the providers of e-mail: SendGrid and, where there is one, an
// SMTP relay for what SendGrid certainly did not take. Each makes as many calls at once
// as there are workers, of at most that time. Call end when all has been sent.
func NewMails(sendGrid SendGrid, smtp SMTP, workers int, timeout time.Duration) (mails Mailer, gates []*Gate, end func()) {
	preferred := NewSendGrid(sendGrid, workers, timeout)
	routes, end := mailRoutes{{preferred, NewGate(NameSendGrid, breakerPause)}}, func() {}
	if smtp.Addr != "" {
		relay := newSMTPMailer(smtp, sendGrid.From, sendGrid.FromName, workers)
		routes, end = append(routes, mailRoute{relay, NewGate(NameSMTP, breakerPause)}), relay.close
	}
	for _, route := range routes {
		gates = append(gates, route.gate)
	}
	if asked, can := preferred.(Finder[Email]); can {
		return askableMail{routes, asked}, gates, end
	}
	return routes, gates, end
}

// NewTexts returns the provider of SMS.
func NewTexts(cfg Twilio, workers int, timeout time.Duration) (Texter, *Gate) {
	texts := NewTwilio(cfg, workers, timeout)
	gate := NewGate(NameTwilio, breakerPause)
	if asked, can := texts.(Finder[SMS]); can {
		return askableText{textRoute{texts, gate}, asked}, gate
	}
	return textRoute{texts, gate}, gate
}
