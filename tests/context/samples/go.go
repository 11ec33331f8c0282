package shop

import (
	"errors"
	"fmt"
)

const limit = 10

var ErrEmpty = errors.New("empty")

// Item is for sale.
type Item struct {
	Name  string `json:"name"`
	Price float64
}

type Pricer interface {
	Total(discount float64) (float64, error)
}

type Cart struct {
	items []Item
	seen  map[string]int
}

func (c *Cart) Add(item Item) error {
	if item.Name == "" {
		return ErrEmpty
	}
	c.items = append(c.items, item)
	c.seen[item.Name]++
	return nil
}

func (c *Cart) Total(discount float64) (total float64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("total: %v", r)
		}
	}()
	for i, item := range c.items {
		switch {
		case i > limit:
			break
		default:
			total += item.Price * (1 - discount)
		}
	}
	go func(ch chan<- int) { ch <- 1 }(make(chan int, 1))
	return total, nil
}
