// Package refusal says in plain words what went wrong, and what can be done about it.
//
// # What is promised
//
// Each status and reason of the gateway has a page, or a line at the field that it is
// about. Nothing internal of a service is shown: an unknown error is "something went wrong".
//
// # When it breaks
//
// A reason that is new in the contract and not known here is shown as its status alone.
package refusal

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// Problem is a page that says what went wrong.
type Problem struct {
	Code        int
	Title, Text string
	// Again is where to try again, Label what that is called.
	Again, Label string
}

// Link is where a page leads on to, and what that is called.
type Link struct{ To, Label string }

// Refusals of this site's own.
var (
	// ErrNoPage is a page that does not exist.
	ErrNoPage = errors.New("no such page")
	// ErrWrongSide is a member on an agent's page, or the other way round.
	ErrWrongSide = errors.New("this page is for the other kind of user")
	// ErrOtherAccount is a form that was made for somebody else, who was signed in before.
	ErrOtherAccount = errors.New("this page was made for another account")
)

// Of puts an error into words. Details that concern the program stay out.
//
// The page leads home if trying again is of no use, else to the address here.
func Of(p *render.Pages, err error, home Link, here string) Problem {
	again := Problem{Again: here, Label: p.Tr("Réessayer", "Try again")}
	switch {
	case errors.Is(err, ErrWrongSide):
		return Problem{
			http.StatusForbidden, p.Tr("Cette page ne vous est pas destinée", "This page is not for you"),
			p.Tr("Vous êtes connecté avec un compte qui n’y donne pas accès.", "You are signed in with an account that does not have access to it."), home.To, home.Label,
		}
	case errors.Is(err, ErrOtherAccount):
		return Problem{
			http.StatusForbidden, p.Tr("Cette page a été ouverte avec un autre compte", "This page was opened with another account"),
			p.Tr("Rien n’a été fait. Connectez-vous avec le compte de cette page, puis réessayez.", "Nothing was done. Sign in with the account of this page, then try again."), home.To, home.Label,
		}
	case errors.Is(err, session.ErrSignIn):
		return Problem{
			http.StatusBadRequest, p.Tr("La connexion n’a pas abouti", "You are not signed in"),
			p.Tr("Elle a peut-être duré trop longtemps, ou été commencée dans un autre onglet.", "It may have taken too long, or have been started in another tab."),
			"/connexion", p.Tr("Se connecter à nouveau", "Sign in again"),
		}
	case errors.Is(err, ErrNoPage):
		return notFound(p, home)
	}
	switch status.Code(err) {
	case codes.NotFound, codes.InvalidArgument:
		return notFound(p, home)
	case codes.PermissionDenied:
		text := p.Tr("Votre profil ne le permet pas.", "Your profile does not allow it.")
		if Reason(err) == "SCOPE_MISSING" {
			text = p.Tr("Votre compte n’a pas ce droit : demandez-le à un superviseur.", "Your account does not have this right: ask a supervisor for it.")
		}
		return Problem{
			http.StatusForbidden, p.Tr("Vous n’avez pas accès à cette page", "You do not have access to this page"), text, home.To, home.Label,
		}
	case codes.ResourceExhausted:
		again.Code, again.Title = http.StatusTooManyRequests, p.Tr("Trop de demandes en peu de temps", "Too many requests in a short time")
		again.Text = p.Counted(int(max(Wait(err), time.Second).Seconds()), "Attendez %d seconde, puis réessayez.", "Attendez %d secondes, puis réessayez.",
			"Wait %d second, then try again.", "Wait %d seconds, then try again.")
		return again
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		again.Code, again.Title = http.StatusServiceUnavailable, p.Tr("Le service est momentanément indisponible", "The service is temporarily unavailable")
		again.Text = p.Tr("Réessayez dans quelques instants.", "Try again in a moment.")
		return again
	case codes.AlreadyExists:
		return Problem{
			http.StatusConflict, p.Tr("Cet envoi n’a pas été enregistré", "This was not sent"),
			p.Tr("Un message est déjà parti depuis ce brouillon, avec un autre contenu. Vous le trouverez dans vos conversations.",
				"A message with other content has been sent from this draft. You will find it among your conversations."), home.To, home.Label,
		}
	case codes.FailedPrecondition, codes.Aborted:
		return conflict(p, err, home)
	default:
		again.Code, again.Title = http.StatusInternalServerError, p.Tr("Une erreur est survenue", "Something went wrong")
		again.Text = p.Tr("Elle est consignée. Vous pouvez réessayer.", "The error has been logged. You can try again.")
		return again
	}
}

// Gone is about a draft that was sent or deleted.
func Gone(p *render.Pages) Problem {
	return Problem{
		http.StatusGone, p.Tr("Ce brouillon n’est plus dans Ma messagerie", "This draft is no longer in My messages"),
		p.Tr("Le message a été envoyé, ou le brouillon supprimé, à votre demande ou parce qu’il était ancien. Si le message est dans Ma messagerie, il n’y a rien à renvoyer. Un brouillon écrit avec un autre compte n’est visible qu’avec celui-ci.",
			"The message was sent, or the draft deleted, by you or because it was old. If the message is in My messages, there is nothing to resend. A draft written with another account can only be seen with that account."),
		"/messagerie", p.Tr("Revenir à Ma messagerie", "Back to My messages"),
	}
}

// Unanswered is about a level of the selection that was not chosen.
func Unanswered(p *render.Pages, field string) render.Fault {
	text := p.Tr("Choisissez un motif.", "Choose a reason.")
	switch field {
	case "theme":
		text = p.Tr("Choisissez un thème.", "Choose a theme.")
	case "topic":
		text = p.Tr("Choisissez un sujet.", "Choose a topic.")
	}
	return render.Fault{Field: field, Text: text}
}

// Length is about a member's text that has so many characters, so that it is said on the page
// where it can be corrected; nil when they fit. Other faults are reported by the service when
// the message is sent.
func Length(p *render.Pages, chars int, limits *taxonomypb.TextLimits) *render.Fault {
	reason, limit := "", int32(0)
	switch {
	case chars < int(limits.GetMin()):
		reason, limit = "BODY_TOO_SHORT", limits.GetMin()
	case chars > int(limits.GetMax()):
		reason, limit = "BODY_TOO_LONG", limits.GetMax()
	default:
		return nil
	}
	return &render.Fault{Field: "text", Text: FaultText(p, reason, map[string]string{"actual": strconv.Itoa(chars), "limit": strconv.Itoa(int(limit))})}
}

func notFound(p *render.Pages, home Link) Problem {
	return Problem{
		http.StatusNotFound, p.Tr("Cette page n’est pas disponible", "This page is not available"),
		p.Tr("L’adresse est peut-être incomplète, ou la conversation n’est pas celle du compte avec lequel vous êtes connecté.", "The address may be incomplete, or the conversation may not belong to the account you are signed in with."), home.To, home.Label,
	}
}

// conflict is about a conversation that is not in the state one thought.
func conflict(pages *render.Pages, err error, home Link) Problem {
	p := Problem{http.StatusConflict, pages.Tr("La conversation a changé entre-temps", "The conversation has changed in the meantime"), "", home.To, home.Label}
	info := infoOf(err)
	switch info.GetReason() {
	case "CLAIM_HELD":
		until, parseErr := time.Parse(time.RFC3339, info.GetMetadata()["until"])
		p.Title = pages.Tr("Cette conversation est déjà prise en charge", "This conversation has already been claimed")
		p.Text = pages.Tr("Elle l’est par %s.", "%s has claimed it.", info.GetMetadata()["agent"])
		if parseErr == nil {
			p.Text = pages.Tr("Elle l’est par %s, jusqu’à %s.", "%s has claimed it until %s.", info.GetMetadata()["agent"], pages.Clock(until))
		}
	case "CONVERSATION_CLOSED":
		p.Title = pages.Tr("Cette conversation est close", "This conversation is closed")
		p.Text = pages.Tr("Elle ne peut plus recevoir de message.", "It can take no further messages.")
	case "ALREADY_ANSWERED":
		p.Title = pages.Tr("Une réponse définitive a déjà été donnée", "A final reply has already been sent")
		p.Text = pages.Tr("Lisez-la, puis envoyez une réponse complémentaire si c’est ce que vous voulez.", "Read it, then send an additional reply if that is what you want.")
	case "CLAIM_NOT_HELD":
		p.Title = pages.Tr("Vous n’avez pas cette conversation en charge", "You have not claimed this conversation")
		p.Text = pages.Tr("Prenez-la d’abord en charge.", "Claim it first.")
	case "DRAFT_CHANGED", "DRAFT_EXISTS":
		p.Title = pages.Tr("Un autre texte a été enregistré entre-temps", "Another text has been saved in the meantime")
		p.Text = pages.Tr("Le vôtre est ci-dessous, et n’est pas enregistré. Recommencez pour le mettre à la place de l’autre.", "Yours is below, and is not saved. Do it again to put it in place of the other.")
	case "CONVERSATION_ERASED":
		p.Title = pages.Tr("Cette conversation a été effacée", "This conversation was erased")
		p.Text = pages.Tr("L’adhérent a demandé l’effacement de ses données.", "The member had their data erased.")
	default:
		p.Text = pages.Tr("Rechargez la page pour voir où elle en est.", "Reload the page to see its current state.")
	}
	return p
}

// Unknown reports whether what was asked for may have been done all the same, or may be done
// if it is asked for again: then it is to be repeated as it was.
func Unknown(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Internal, codes.Unknown:
		return true
	default:
		return false
	}
}

// Reason is the stable reason of a refusal; empty when it has none.
func Reason(err error) string { return infoOf(err).GetReason() }

// infoOf returns the stable reason of a refusal.
func infoOf(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// Wait is how long a refusal says to wait.
func Wait(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 2 * time.Second
}

// Faults turns the violations of a refusal into what is shown at the fields; nil
// when it is none, or not about a field.
func Faults(p *render.Pages, err error) []render.Fault {
	if status.Code(err) != codes.InvalidArgument {
		return nil
	}
	var faults []render.Fault
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range bad.GetFieldViolations() {
				if text := FaultText(p, violation.GetReason(), infoOf(err).GetMetadata()); text != "" {
					faults = append(faults, render.Fault{Field: strings.TrimPrefix(violation.GetField(), "preferences."), Text: text})
				}
			}
		}
	}
	return faults
}

// characters is a number of them in words, as the gateway gives it.
func characters(p *render.Pages, limit string) string {
	n, err := strconv.Atoi(limit)
	if err != nil {
		return limit
	}
	return p.Characters(n)
}

// FaultText is what to do about a refused field.
func FaultText(p *render.Pages, reason string, details map[string]string) string {
	switch reason {
	case "BODY_TOO_SHORT":
		return p.Tr("Écrivez au moins %s. Votre texte en compte %s.", "Write at least %s. Your text has %s.", characters(p, details["limit"]), details["actual"])
	case "BODY_TOO_LONG":
		return p.Tr("Écrivez au plus %s. Votre texte en compte %s.", "Write at most %s. Your text has %s.", characters(p, details["limit"]), details["actual"])
	case "BODY_BLANK":
		return p.Tr("Écrivez votre message : ce texte n’a aucun caractère visible.", "Write your message: this text has no visible characters.")
	case "CONTROL_CHARACTERS":
		return p.Tr("Écrivez-le à nouveau sur une ligne : il contient un caractère invisible.", "Write it again on one line: it contains an invisible character.")
	case "TOO_LONG":
		return p.Tr("Écrivez au plus %s.", "Write at most %s.", characters(p, details["limit"]))
	case "CLOSING_TEXT_REQUIRED":
		return p.Tr("Ce message est sans réponse définitive : écrivez une phrase qui explique à l’adhérent pourquoi vous le clôturez.",
			"This message has no final reply: write a sentence that tells the member why you are closing it.")
	case "REFERENCE_INVALID":
		return p.Tr("Cette référence n’existe pas : vérifiez-la, un caractère est faux ou deux sont inversés.",
			"There is no such reference. Check it: a character is wrong, or two are swapped.")
	case "SEARCH_INVALID":
		return p.Tr("Écrivez une référence ou un numéro d’adhérent, avec ses chiffres.", "Enter a reference or a member number, with its digits.")
	case "AGENT_UNKNOWN":
		return p.Tr("Ce conseiller ne peut pas recevoir cette conversation : choisissez-en un autre.", "This adviser cannot be given this conversation: choose another.")
	case "QUEUE_UNKNOWN":
		return p.Tr("Cette file n’existe plus : choisissez-en une autre.", "This queue no longer exists: choose another.")
	case "TEMPLATE_VARIABLE_UNKNOWN":
		return p.Tr("%s n’est pas une variable. Les variables sont %s.", "%s is not a variable. The variables are %s.", details["variable"], details["known"])
	case "FILTERS_CONTRADICTORY":
		return p.Tr("La fin de la période est avant son début.", "The period ends before it begins.")
	case "EMAIL_INVALID":
		return p.Tr("Écrivez une adresse e-mail complète, comme nom@exemple.fr.", "Enter a complete e-mail address, such as name@example.org.")
	case "PHONE_INVALID":
		return p.Tr("Écrivez un numéro de téléphone mobile, comme 06 12 34 56 78.", "Enter a mobile phone number, such as +33 6 12 34 56 78.")
	case "EMAIL_NOT_ASCII":
		return p.Tr("Écrivez une adresse sans accent ni lettre étrangère avant le @ : nous ne pouvons pas écrire aux autres.", "Enter an address without accents or foreign letters before the @: we cannot write to others.")
	case "EMAIL_UNREACHABLE":
		return p.Tr("Vérifiez la fin de l’adresse, après le dernier point : aucune adresse ne se termine ainsi.", "Check the end of the address, after the last dot: no address ends like this.")
	case "PHONE_NOT_MOBILE":
		return p.Tr("Écrivez un numéro de téléphone mobile : celui-ci ne reçoit pas de SMS.", "Enter a mobile phone number: this one does not receive SMS.")
	case "PHONE_COUNTRY_UNSUPPORTED":
		return p.Tr("Écrivez un autre numéro : nous n’envoyons pas de SMS dans ce pays.", "Enter another number: we do not send SMS to this country.")
	}
	return ""
}
