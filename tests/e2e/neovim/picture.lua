-- Makes docs/images/neovim.svg: the screen of a real Neovim with a suggestion of the real daemon.
-- usage: tests/e2e/neovim/picture

local here = vim.fn.fnamemodify(debug.getinfo(1, 'S').source:sub(2), ':p:h')
package.path = here .. '/?.lua;' .. package.path
local driver = require('driver')

local root = vim.fn.resolve(here .. '/../../..')
local width, char_width, line_height = 80, 8.4, 19

local code = [[
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

type Config struct {
	Name string
	Port int
}

func main() {
	data, err := os.ReadFile("config.json")
	if err != nil {
	}
	var config Config
	json.Unmarshal(data, &config)
}]]

-- Runs of equal look in a line of `capture-pane -e`.
local function runs(line)
  local list, look = {}, {}
  for codes, text in ('\27[m' .. line):gmatch('\27%[([%d;]*)m([^\27]*)') do
    local numbers = vim.tbl_map(tonumber, vim.split(codes == '' and '0' or codes, '[;:]'))
    local i = 1
    while i <= #numbers do
      local n = numbers[i]
      if n == 0 then
        look = {}
      elseif n == 1 then
        look.bold = true
      elseif n == 3 then
        look.italic = true
      elseif n == 39 then
        look.fg = nil
      elseif n == 49 then
        look.bg = nil
      elseif (n == 38 or n == 48) and numbers[i + 1] == 2 then
        local colour = ('#%02x%02x%02x'):format(numbers[i + 2], numbers[i + 3], numbers[i + 4])
        look[n == 38 and 'fg' or 'bg'] = colour
        i = i + 4
      end
      i = i + 1
    end
    if text ~= '' then
      list[#list + 1] = { text = text, look = vim.deepcopy(look) }
    end
  end
  return list
end

local function escape(text)
  return (text:gsub('&', '&amp;'):gsub('<', '&lt;'):gsub('>', '&gt;'):gsub('"', '&quot;'))
end

local function svg(lines, cursor)
  local out = {}
  local function put(...)
    out[#out + 1] = (...):format(select(2, ...))
  end
  local w, h = width * char_width + 24, #lines * line_height + 24
  put('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">', w, h, w, h)
  put('<rect width="%d" height="%d" rx="8" fill="#14161b"/>', w, h)
  put('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">')
  for row, line in ipairs(lines) do
    local column, y = 0, 12 + row * line_height
    for _, run in ipairs(runs(line)) do
      local cells = vim.fn.strdisplaywidth(run.text)
      local x = 12 + column * char_width
      if run.look.bg and run.look.bg ~= '#14161b' then
        local box = '<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>'
        put(box, x, y - line_height + 5, cells * char_width, line_height, run.look.bg)
      end
      if vim.trim(run.text) ~= '' then
        local style = (run.look.bold and ' font-weight="bold"' or '')
          .. (run.look.italic and ' font-style="italic"' or '')
        local text = '<text x="%.1f" y="%d" textLength="%.1f" fill="%s"%s>%s</text>'
        local fill = run.look.fg or '#e0e2ea'
        put(text, x, y, cells * char_width, fill, style, escape(run.text))
      end
      column = column + cells
    end
    if row == cursor[1] then
      local x = 12 + (cursor[2] - 1) * char_width
      put('<rect x="%.1f" y="%d" width="2" height="%d" fill="#e0e2ea"/>', x, y - 14, line_height)
    end
  end
  put('</g>')
  put('</svg>')
  return out
end

local dir = vim.fn.tempname()
vim.fn.mkdir(dir, 'p')
vim.fn.writefile(vim.split(code, '\n'), dir .. '/main.go')
vim.fn.writefile({}, dir .. '/.root')
local editor = driver.start_in_terminal({
  nvim = arg[1],
  plugin = root .. '/editors/neovim',
  cwd = dir,
  init = ([[
    require('fimd').setup({ cmd = { %q, 'lsp' }, root_markers = { '.root' } })
    vim.o.termguicolors = true
    vim.api.nvim_set_hl(0, 'FimdGhost', { fg = '#8a919e', italic = true })
    vim.o.number = true
    vim.o.fillchars = 'eob: '
    vim.o.laststatus = 2
    vim.o.showmode = false
    vim.o.statusline = ' %%f %%m%%=%%{%%v:lua.require("fimd").statusline()%%}  %%l,%%c '
  ]]):format(vim.env.FIMD_E2E_BIN),
})
local ok, message = pcall(function()
  editor:edit('main.go')
  editor:wait_ready()
  editor:lua('vim.bo.tabstop = 4')
  editor:lua([[vim.fn.search('err != nil')]])
  editor:press('o')
  if arg[2] then
    editor:press('-l', arg[2])
  end
  editor:wait_ghost()
  editor:settle()
  editor:wait('the idle state', 'return require("fimd").status().state == "idle"')
  vim.wait(300)
  local lines = editor:screen(true)
  while lines[#lines] == '' do
    table.remove(lines)
  end
  local cursor = editor:lua('return { vim.fn.screenrow(), vim.fn.screencol() }')
  vim.fn.mkdir(root .. '/docs/images', 'p')
  vim.fn.writefile(svg(lines, cursor), root .. '/docs/images/neovim.svg')
  print(editor:ghost().text)
end)
editor:stop()
if not ok then
  io.stderr:write(message .. '\n')
  os.exit(1)
end
