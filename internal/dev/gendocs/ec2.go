package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/slipway-cloud/slipway/api/ec2"
	"github.com/slipway-cloud/slipway/internal/policy"
)

const ec2Head = `<!-- Written by internal/dev/gendocs from api/ec2 and internal/policy: run ` + "`make generate`" + `. -->

# Actions of the EC2 API

One row for each action of the table in [api/ec2](../api/ec2). *Who* is the least role that it asks, on the project of the access key
that signs. Parameters in bold have to be there; a list is ` + "`Name.1`, `Name.2`" + ` and so on, and what is bold of it has to be there of each. Any
other parameter is refused, as ` + "`UnknownParameter`" + `, or, where EC2 has it and it cannot be honoured here, as ` + "`UnsupportedOperation`" + ` with the
reason. What is not in the table is ` + "`InvalidAction`" + `. [api.md](api.md#ec2) has what all of them share.

| action | who | parameters | refused |
|---|---|---|---|
`

func ec2Actions() []byte {
	var b bytes.Buffer
	b.WriteString(ec2Head)
	for _, a := range ec2.Actions() {
		refused := a.Why
		if len(a.Refuses) > 0 {
			refused = strings.Join(a.Refuses, ", ")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", a.Name, policy.EC2(a.Name), strings.Join(a.Takes, ", "), cell(refused))
	}
	return b.Bytes()
}
