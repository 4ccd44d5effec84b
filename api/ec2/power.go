package ec2

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// EC2's error codes of what an instance cannot do.
const (
	incorrectState ids.EC2Code = "IncorrectInstanceState"
	notPermitted   ids.EC2Code = "OperationNotPermitted"
)

type changedState struct {
	ID       string `xml:"instanceId"`
	Current  state  `xml:"currentState"`
	Previous state  `xml:"previousState"`
}

type changedStates struct {
	head
	Instances set[changedState] `xml:"instancesSet"`
}

// unshelve is the action on a shelved server, whether or not it has left its host.
const unshelve = "unshelve"

// change is what is done to an instance in a state: the name of an action on its server, and the state that shows then. No name
// is nothing: it is that already, or becomes it.
type change struct {
	action string
	to     state
}

// changing does to each of the instances what its state asks for. None is touched where one of them is in a state that allows nothing.
func (a *API) changing(ctx context.Context, who asker, named []string, of func(instance) (change, bool), from string) (*changedStates, error) {
	found, err := a.instances(ctx, who, named, nil)
	if err != nil {
		return nil, err
	}
	changes := make([]change, len(found))
	for i, one := range found {
		var ok bool
		if changes[i], ok = of(one); !ok {
			return nil, refuse(incorrectState, "The instance '%s' is not in a state from which it can be %s: it is %s.", one.id, from, stateOf(one.server).Name)
		}
	}
	said := &changedStates{}
	for i, one := range found {
		if name := changes[i].action; name != "" {
			if err := a.act(ctx, who, one.server, name); err != nil {
				return nil, inState(err)
			}
		}
		said.Instances = append(said.Instances, changedState{one.id, changes[i].to, stateOf(one.server)})
	}
	return said, nil
}

func (a *API) act(ctx context.Context, who asker, v models.Server, name string) error {
	if name == unshelve {
		return a.asking(who).Unshelve(ctx, v, row(unshelve), row("unshelve-offloaded"), servers.Target{})
	}
	return a.asking(who).Act(ctx, v, row(name), contract.ActionArguments{})
}

func row(name string) lifecycle.Action {
	action, ok := lifecycle.Find(name)
	if !ok {
		panic("there is no action " + name)
	}
	return action
}

// inState gives the conflict of an action its code in EC2.
func inState(err error) error {
	switch {
	case !fault.Is(err, fault.Conflict):
		return err
	case strings.HasSuffix(fault.Public(err), "is locked"):
		return fault.Wrap(fault.Conflict, notPermitted, "%s", fault.Public(err))
	}
	return fault.Wrap(fault.Conflict, incorrectState, "%s", fault.Public(err))
}

type startInstances struct {
	IDs []string `ec2:"InstanceId,required"`
}

func (a *API) startInstances(ctx context.Context, who asker, in startInstances) (*changedStates, error) {
	return a.changing(ctx, who, in.IDs, func(i instance) (change, bool) {
		switch stateOf(i.server) {
		case running, pending:
			return change{to: stateOf(i.server)}, true
		case stopped:
			switch i.server.VMState { //nolint:exhaustive // the rest cannot be started
			case lifecycle.Stopped:
				return change{"os-start", pending}, true
			case lifecycle.Suspended:
				return change{"resume", pending}, true
			case lifecycle.Paused:
				return change{"unpause", pending}, true
			case lifecycle.Shelved, lifecycle.ShelvedOffloaded:
				return change{unshelve, pending}, true
			case lifecycle.Error: // its guest is made anew
				return change{"reboot-hard", pending}, true
			}
		}
		return change{}, false
	}, "started")
}

type stopInstances struct {
	IDs       []string `ec2:"InstanceId,required"`
	Hibernate bool     `ec2:"Hibernate"`
	// Force needs nothing: a guest that does not shut down is turned off.
	Force bool `ec2:"Force"`
}

func (a *API) stopInstances(ctx context.Context, who asker, in stopInstances) (*changedStates, error) {
	action := "os-stop"
	if in.Hibernate {
		action = "suspend"
	}
	return a.changing(ctx, who, in.IDs, func(i instance) (change, bool) {
		switch stateOf(i.server) {
		case stopped, stopping:
			return change{to: stateOf(i.server)}, true
		case running:
			return change{action, stopping}, true
		}
		return change{}, false
	}, "stopped")
}

type rebootInstances struct {
	IDs []string `ec2:"InstanceId,required"`
}

func (a *API) rebootInstances(ctx context.Context, who asker, in rebootInstances) (*done, error) {
	_, err := a.changing(ctx, who, in.IDs, func(i instance) (change, bool) {
		return change{"reboot-soft", running}, stateOf(i.server) == running
	}, "rebooted")
	return isDone(), err
}

type terminateInstances struct {
	IDs []string `ec2:"InstanceId,required"`
}

// terminateInstances ends instances whatever they are: what is terminated already stays so.
func (a *API) terminateInstances(ctx context.Context, who asker, in terminateInstances) (*changedStates, error) {
	found, err := a.instances(ctx, who, in.IDs, nil)
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		if err := i.server.MayChange(who.Admin()); err != nil && i.server.DeletedAt == nil {
			return nil, inState(err)
		}
		if i.server.Protected && i.server.DeletedAt == nil {
			return nil, fault.Wrap(fault.Conflict, notPermitted, "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", i.id)
		}
	}
	said := &changedStates{}
	for _, i := range found {
		was := stateOf(i.server)
		now := shuttingDown
		switch {
		case i.server.DeletedAt != nil, i.server.VMState == lifecycle.SoftDeleted:
			now = terminated
		default:
			// Gone by now is what was asked for.
			if err := a.asking(who).Delete(ctx, i.server.ID); err != nil && !fault.Is(err, fault.NotFound) {
				return nil, inState(err)
			}
		}
		said.Instances = append(said.Instances, changedState{i.id, now, was})
	}
	return said, nil
}

type consoleOutput struct {
	ID     string `ec2:"InstanceId,required"`
	Latest bool   `ec2:"Latest"` // what is answered is always the latest
}

type saidConsole struct {
	head
	ID     string `xml:"instanceId"`
	At     string `xml:"timestamp"`
	Output string `xml:"output"`
}

// consoleLines is how much of a console is told, as much as its host keeps; EC2 tells the last 64 KB.
const (
	allLines   = -1
	maxConsole = 64 << 10
)

func (a *API) consoleOutput(ctx context.Context, who asker, in consoleOutput) (*saidConsole, error) {
	found, err := a.instances(ctx, who, []string{in.ID}, nil)
	if err != nil {
		return nil, err
	}
	said := &saidConsole{ID: in.ID, At: when(a.now())}
	text, err := a.asking(who).Console(ctx, found[0].server, allLines)
	if err != nil {
		if fault.Is(err, fault.Conflict) { // it has not printed yet, or is gone
			return said, nil
		}
		return nil, err
	}
	said.Output = base64.StdEncoding.EncodeToString([]byte(text[max(len(text)-maxConsole, 0):]))
	return said, nil
}

type consoleScreenshot struct {
	ID string `ec2:"InstanceId,required"`
	// WakeUp needs nothing: no key is pressed that might mean something, and a screen that its guest has blanked shows that.
	WakeUp bool `ec2:"WakeUp"`
}

type saidScreenshot struct {
	head
	ID   string `xml:"instanceId"`
	Data string `xml:"imageData"`
}

func (a *API) consoleScreenshot(ctx context.Context, who asker, in consoleScreenshot) (*saidScreenshot, error) {
	found, err := a.instances(ctx, who, []string{in.ID}, nil)
	if err != nil {
		return nil, err
	}
	if state := stateOf(found[0].server); state != running {
		return nil, refuse(incorrectState, "The instance '%s' is not running: it is %s.", found[0].id, state.Name)
	}
	picture, err := a.asking(who).Screenshot(ctx, found[0].server)
	switch {
	case fault.Is(err, fault.Invalid):
		return nil, unsupported("%s", fault.Public(err))
	case err != nil:
		return nil, inState(err)
	}
	return &saidScreenshot{ID: found[0].id, Data: base64.StdEncoding.EncodeToString(picture)}, nil
}

type passwordData struct {
	ID string `ec2:"InstanceId,required"`
}

type saidPassword struct {
	head
	ID   string `xml:"instanceId"`
	At   string `xml:"timestamp"`
	Data string `xml:"passwordData"`
}

// passwordData is what the guest has posted to its metadata service, encrypted with its key pair; nothing where it has not.
func (a *API) passwordData(ctx context.Context, who asker, in passwordData) (*saidPassword, error) {
	found, err := a.instances(ctx, who, []string{in.ID}, nil)
	if err != nil {
		return nil, err
	}
	password, err := a.asking(who).GuestPassword(ctx, found[0].server)
	if err != nil {
		return nil, err
	}
	return &saidPassword{ID: found[0].id, At: when(a.now()), Data: password}, nil
}

var powerActions = []action{
	does("GetConsoleOutput", (*API).consoleOutput),
	does("GetConsoleScreenshot", (*API).consoleScreenshot),
	does("GetPasswordData", (*API).passwordData),
	does("RebootInstances", (*API).rebootInstances),
	does("StartInstances", (*API).startInstances),
	does("StopInstances", (*API).stopInstances),
	does("TerminateInstances", (*API).terminateInstances),
}
