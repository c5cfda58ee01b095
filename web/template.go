package web

import (
	"net/http"
	"strings"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// templatesPage lists reply templates, and edits one for a supervisor.
type templatesPage struct {
	console
	Templates []*messagingpb.Template
	Queues    []*messagingpb.AgentQueue
	Edited    *messagingpb.Template
}

func (v *visit) showTemplates() error {
	page, err := v.templatesPage()
	if err != nil {
		return err
	}
	for _, template := range page.Templates {
		if template.GetId() == v.r.FormValue("modifier") {
			page.Edited = template
		}
	}
	return v.show(http.StatusOK, "templates", page)
}

func (v *visit) templatesPage() (*templatesPage, error) {
	list, err := v.agents.ListTemplates(v.ctx, &messagingpb.ListTemplatesRequest{})
	if err != nil {
		return nil, err
	}
	queues, err := v.agents.ListQueues(v.ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return nil, err
	}
	return &templatesPage{v.console(), list.GetTemplates(), queues.GetQueues(), &messagingpb.Template{Id: uuid.NewString()}}, nil
}

func (v *visit) saveTemplate() error {
	template := &messagingpb.Template{Id: v.r.PostFormValue("id"), Title: v.trimmed("titre"), Text: v.trimmed("texte"), Queue: v.r.PostFormValue("file")}
	var faults []fault
	if template.GetTitle() == "" || len([]rune(template.GetTitle())) > 80 {
		faults = append(faults, fault{Field: "title", Text: v.tr("Donnez un titre de 80 caractères au plus.", "Enter a title of at most 80 characters.")})
	}
	if template.GetText() == "" || len([]rune(template.GetText())) > 5000 {
		faults = append(faults, fault{Field: "text", Text: v.tr("Écrivez un texte de 5 000 caractères au plus.", "Write a text of at most 5,000 characters.")})
	}
	if faults != nil {
		return v.editAgain(template, faults...)
	}
	_, err := v.agents.SaveTemplate(v.ctx, &messagingpb.SaveTemplateRequest{Id: template.GetId(), Title: template.GetTitle(), Text: template.GetText(), Queue: template.GetQueue()})
	if faults := v.faultsOf(err); faults != nil {
		return v.editAgain(template, faults...)
	}
	if err != nil {
		return err
	}
	v.flash(v.tr("Le modèle est enregistré.", "The template was saved."))
	return v.redirect("/agent/modeles")
}

// editAgain shows what was typed, with what is to be corrected.
func (v *visit) editAgain(template *messagingpb.Template, faults ...fault) error {
	page, err := v.templatesPage()
	if err != nil {
		return err
	}
	page.Edited = template
	return v.show(http.StatusUnprocessableEntity, "templates", page, faults...)
}

func (v *visit) deleteTemplate() error {
	if _, err := v.agents.DeleteTemplate(v.ctx, &messagingpb.DeleteTemplateRequest{Id: v.r.PathValue("id")}); err != nil {
		return err
	}
	v.flash(v.tr("Le modèle est supprimé.", "The template was deleted."))
	return v.redirect("/agent/modeles")
}

// trimmed is a form's value without outer white space.
func (v *visit) trimmed(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }
