package plain_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/plain"
)

func TestShown(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		line string
		want []plain.Flaw
	}{
		{"Famille, logement", nil},
		{"Mon dossier\u00a0: où en est-il\u202f?", nil},
		{"👩\u200d🌾 agricultrice ☎\ufe0f", nil},
		{strings.Repeat("é", 40), nil},
		{strings.Repeat("é", 41), []plain.Flaw{plain.Long}},
		{"", []plain.Flaw{plain.Invisible}},
		{" \u00a0\u3000", []plain.Flaw{plain.Invisible}},
		{"\u200b\u2800\ufeff", []plain.Flaw{plain.Invisible}},
		{"Fa\u200bmille", []plain.Flaw{plain.Invisible}},
		{"Fa\u00admille", []plain.Flaw{plain.Invisible}},
		{"Fa\u2800mille", []plain.Flaw{plain.Invisible}},
		{"Fa\u3164mille", []plain.Flaw{plain.Invisible}},
		{"Fa\U000e0041mille", []plain.Flaw{plain.Invisible}},
		{"Fa\tmille", []plain.Flaw{plain.Control}},
		{"Fa\nmille", []plain.Flaw{plain.Control}},
		{"Fa\u2028mille", []plain.Flaw{plain.Control}},
		{"Fa\x00mille", []plain.Flaw{plain.Control}},
		{"Fa\u0085mille", []plain.Flaw{plain.Control}},
		{"Fa\ufffdmille", []plain.Flaw{plain.Control}},
		{"Fa\ue000mille", []plain.Flaw{plain.Control}},
		{"Fa\ufdd0mille", []plain.Flaw{plain.Control}},
		{"Fa\u202emille", []plain.Flaw{plain.Direction}},
		{"Fa\u200fmille", []plain.Flaw{plain.Direction}},
		{"\u2067Famille\u2069", []plain.Flaw{plain.Direction}},
		{"Fa\u061cmille", []plain.Flaw{plain.Direction}},
		{" Famille", []plain.Flaw{plain.Spaces}},
		{"Famille\u00a0", []plain.Flaw{plain.Spaces}},
		{"Famille \u00a0et logement", []plain.Flaw{plain.Spaces}},
		{"Sante\u0301", []plain.Flaw{plain.Unnormalised}},
		{" Sante\u0301\u200b\u202e\x1b" + strings.Repeat("e", 40), []plain.Flaw{plain.Control, plain.Direction, plain.Invisible, plain.Long, plain.Unnormalised}},
	} {
		var got []plain.Flaw
		for _, fault := range plain.Shown(row.line, 40) {
			got = append(got, fault.Flaw)
			if fault.Text == "" || fault.Hint == "" {
				t.Errorf("%+q: %s without words", row.line, fault.Flaw)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, row.want) {
			t.Errorf("%+q: %v, want %v", row.line, got, row.want)
		}
	}
}

func TestSetting(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "Caisse d’Armorique"} {
		if err := plain.Setting("NAME", value, 40); err != nil {
			t.Error(err)
		}
	}
	err := plain.Setting("NAME", " \u202eCaisse\n", 5)
	if err == nil || strings.Count(err.Error(), "NAME, which people are shown: ") != 3 {
		t.Error(err)
	}
}

func TestAlike(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{"Santé", "SANTE"},
		{"Sante\u0301", "santé"},
		{"l’aide", "l'aide"},
		{"l`aide", "lʼaide"},
		{"l´aide", "l’aide"},
		{"micro-crèche", "micro\u2011crèche"},
		{"où\u00a0?", "ou  ?"},
		{"sœur", "SOEUR"},
		{"a\u200bb", "ab"},
		{"ＲＳＡ", "rsa"},
	} {
		if plain.Alike(pair[0]) != plain.Alike(pair[1]) {
			t.Errorf("%+q and %+q are apart: %+q, %+q", pair[0], pair[1], plain.Alike(pair[0]), plain.Alike(pair[1]))
		}
	}
	for _, pair := range [][2]string{{"Santé", "Santés"}, {"Moins de 20 ans", "Moins de 25 ans"}, {"A", "A ?"}} {
		if plain.Alike(pair[0]) == plain.Alike(pair[1]) {
			t.Errorf("%q and %q are the same", pair[0], pair[1])
		}
	}
}
