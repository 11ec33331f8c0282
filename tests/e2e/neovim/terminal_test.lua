-- What a user sees: the screen of a real terminal.

local h = require('harness')

local python = [[
class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
]]

-- Text attributes of the ghost text, as capture-pane -e tells them.
local look = 'vim.api.nvim_set_hl(0, "%s", { ctermfg = 5, cterm = { italic = true } })'

-- The line of the screen without escape sequences, and what of it has the ghost's look.
local function split_look(line)
  local plain, ghost, inside = {}, {}, false
  local at = 1
  while at <= #line do
    local codes, stop = line:match('^\27%[([%d;]*)m()', at)
    if codes then
      for code in (codes == '' and '0' or codes):gmatch('%d+') do
        if code == '3' then
          inside = true
        elseif code == '0' or code == '23' then
          inside = false
        end
      end
      at = stop
    else
      plain[#plain + 1] = line:sub(at, at)
      if inside then
        ghost[#ghost + 1] = line:sub(at, at)
      end
      at = at + 1
    end
  end
  return table.concat(plain), table.concat(ghost)
end

local function trimmed(lines)
  return vim.tbl_map(function(line)
    return (line:gsub('%s+$', ''))
  end, lines)
end

-- Types in the terminal, then: the ghost is on the screen in its look, where it will be once accepted.
local function see_and_accept(e, typed)
  e:lua((look):format('FimdGhost') .. (look):format('ComplHint'))
  e:lua('vim.o.laststatus = 0; vim.o.ruler = false; vim.o.showmode = false; vim.cmd.syntax("off")')
  e:lua('vim.lsp.semantic_tokens = nil; vim.opt.shortmess:append("F"); vim.treesitter.stop()')
  e:press('G', 'A')
  e:wait('insert mode', 'return vim.api.nvim_get_mode().mode == "i"')
  -- Behind Ctrl-V a tab is a character: by itself it would accept what may be on the screen already.
  e:press('-l', (typed:gsub('\t', '\22\t')))
  local ghost = h.ghost(e)
  local before = e:text()
  local first = vim.split(ghost, '\n', { plain = true })[1]
  local row = e:lua('return vim.fn.screenrow()')
  local seen
  e:wait('the ghost text on the screen', function()
    local plain, styled = split_look(e:screen(true)[row])
    seen = plain
    return vim.trim(plain):find(vim.trim(typed .. first), 1, true) ~= nil
      and vim.trim(styled) == vim.trim((first:gsub('\t', '')))
  end)
  local ghost_screen = trimmed(e:screen())
  e:press('Tab')
  e:wait_text(before .. ghost)
  e:press('Escape')
  e:wait('the accepted text on the screen, without the look', function()
    local plain, styled = split_look(e:screen(true)[row])
    return styled == '' and vim.trim(plain) == vim.trim(seen)
  end)
  -- Accepting moved nothing: the same characters are at the same places.
  local lines = #vim.split(ghost, '\n', { plain = true })
  local accepted_screen = trimmed(e:screen())
  for i = 1, row + lines - 1 do
    h.equal(accepted_screen[i], ghost_screen[i], 'line ' .. i .. ' of the screen')
  end
end

return {
  {
    name = 'the screen shows it, and accepting moves nothing',
    with = { 'plugin', 'core' },
    terminal = true,
    files = { ['main.py'] = python },
    run = function(e)
      see_and_accept(e, '        return self.')
    end,
  },
  {
    name = 'the screen with tabs and wide characters',
    with = { 'plugin' },
    terminal = true,
    files = {
      ['main.go'] = 'package main\n\nimport "fmt"\n\nfunc main() {\n\tnaïve := "数据"\n\tfmt.Println(naïve)\n',
    },
    open = 'main.go',
    run = function(e)
      e:lua('vim.bo.autoindent = false; vim.bo.indentexpr = ""; vim.bo.indentkeys = ""')
      see_and_accept(e, '\t/* 数é */ fmt.')
    end,
  },
}
