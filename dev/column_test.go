package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// No field is read from a column that has the name of another of its struct. What is
// written by postgres.RowsOf is held to its own name there.
func TestColumnsAreNotSwapped(t *testing.T) {
	t.Parallel()
	seen := 0
	sources(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), path), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			of, is := n.(*ast.StructType)
			if !is {
				return true
			}
			for field, column := range columnsOf(of) {
				seen++
				for other := range columnsOf(of) {
					if name := strings.ReplaceAll(column, "_", ""); other != field && strings.EqualFold(name, other) {
						t.Errorf("%s: the field %s is read from the column %s, which is %s's", path, field, column, other)
					}
				}
			}
			return true
		})
	})
	if seen < 100 {
		t.Errorf("%d columns were seen", seen)
	}
}

// columnsOf are the db tags of a struct, by field.
func columnsOf(of *ast.StructType) map[string]string {
	columns := make(map[string]string)
	for _, field := range of.Fields.List {
		if field.Tag == nil {
			continue
		}
		column, is := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Lookup("db")
		for _, name := range field.Names {
			if is && column != "-" {
				columns[name.Name] = column
			}
		}
	}
	return columns
}
