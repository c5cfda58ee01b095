package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// templatesPage lists reply templates, and edits one for a supervisor.
type templatesPage struct {
	Templates []*messagingpb.Template
	Queues    []*messagingpb.AgentQueue
	Edited    *messagingpb.Template
}

// Stored reports whether there is the edited template already.
func (p *templatesPage) Stored() bool {
	return slices.ContainsFunc(p.Templates, func(t *messagingpb.Template) bool { return t.GetId() == p.Edited.GetId() })
}

func (v *visitor) showTemplates() error {
	page, err := v.templatesPage()
	if err != nil {
		return err
	}
	for _, template := range page.Templates {
		if template.GetId() == v.R.FormValue("modifier") {
			page.Edited = template
		}
	}
	return v.Show(http.StatusOK, "templates", page)
}

func (v *visitor) templatesPage() (*templatesPage, error) {
	list, err := v.agents.ListTemplates(v.Ctx, &messagingpb.ListTemplatesRequest{})
	if err != nil {
		return nil, err
	}
	queues, err := v.agents.ListQueues(v.Ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return nil, err
	}
	return &templatesPage{list.GetTemplates(), queues.GetQueues(), &messagingpb.Template{Id: uuid.NewString()}}, nil
}

func (v *visitor) saveTemplate() error {
	template := &messagingpb.Template{Id: v.R.PostFormValue("id"), Title: v.trimmed("titre"), Text: v.trimmed("texte"), Queue: v.R.PostFormValue("file")}
	var faults []render.Fault
	if template.GetTitle() == "" || len([]rune(template.GetTitle())) > 80 {
		faults = append(faults, render.Fault{Field: "title", Text: v.Tr("Donnez un titre de 80 caractères au plus.", "Enter a title of at most 80 characters.")})
	}
	if template.GetText() == "" || len([]rune(template.GetText())) > 5000 {
		faults = append(faults, render.Fault{Field: "text", Text: v.Tr("Écrivez un texte de 5 000 caractères au plus.", "Write a text of at most 5,000 characters.")})
	}
	if faults != nil {
		return v.editAgain(template, faults...)
	}
	_, err := v.agents.SaveTemplate(v.Ctx, &messagingpb.SaveTemplateRequest{Id: template.GetId(), Title: template.GetTitle(), Text: template.GetText(), Queue: template.GetQueue()})
	if faults := v.FaultsOf(err); faults != nil {
		return v.editAgain(template, faults...)
	}
	if err != nil {
		return err
	}
	v.Flash(v.Tr("Le modèle est enregistré.", "The template was saved."))
	return v.Redirect("/agent/modeles")
}

// editAgain shows what was typed, with what is to be corrected.
func (v *visitor) editAgain(template *messagingpb.Template, faults ...render.Fault) error {
	page, err := v.templatesPage()
	if err != nil {
		return err
	}
	page.Edited = template
	return v.Show(http.StatusUnprocessableEntity, "templates", page, faults...)
}

func (v *visitor) deleteTemplate() error {
	if _, err := v.agents.DeleteTemplate(v.Ctx, &messagingpb.DeleteTemplateRequest{Id: v.R.PathValue("id")}); err != nil {
		return err
	}
	v.Flash(v.Tr("Le modèle est supprimé.", "The template was deleted."))
	return v.Redirect("/agent/modeles")
}

// trimmed is a form's value without outer white space.
func (v *visitor) trimmed(name string) string { return strings.TrimSpace(v.R.PostFormValue(name)) }
