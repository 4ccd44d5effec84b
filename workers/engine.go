package workers

import (
	"context"
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// PrepareEngine sees to it that the engine knows the search attributes: a workflow that sets one that it does not know stands
// still. Slipway's own engine has them; one that somebody else runs, or an older one, may lack some.
func PrepareEngine(ctx context.Context, c client.Client, namespace string) error {
	known, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("listing the search attributes of namespace %s: %w", namespace, err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	var names []string
	for _, name := range contract.SearchAttributes() {
		if _, ok := known.CustomAttributes[name]; !ok {
			missing[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
			names = append(names, "--name "+name+" --type Keyword")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: missing,
	}); err != nil {
		return fmt.Errorf("adding search attributes to the engine: %w (or do it by hand: temporal operator search-attribute create --namespace %s %s)",
			err, namespace, strings.Join(names, " "))
	}
	return nil
}
